"""Classical ciphers over the letters a to z; other characters stay as they are."""

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def shift(text: str, by: int = 3) -> str:
    """Move each letter along the alphabet, round its end; capitals stay capitals."""
    result = ""
    for character in text:
        place = ALPHABET.find(character.lower())
        if place < 0:
            result += character
            continue
        moved = ALPHABET[(place + by) % 26]
        result += moved.upper() if character.isupper() else moved
    return result


def unshift(text: str, by: int = 3) -> str:
    """Undo `shift`."""
    return shift(text, -by)


def vigenere(text: str, key: str, decode: bool = False) -> str:
    """Move each letter by a letter of the key in turn, a by 0 and z by 25; only letters use up the key."""
    result = ""
    used = 0
    for character in text:
        if character.lower() in ALPHABET:
            by = ALPHABET.index(key[used % len(key)].lower())
            result += shift(character, -by if decode else by)
            used += 1
        else:
            result += character
    return result


def atbash(text: str) -> str:
    """Swap a with z, b with y and so on; the result is in lower case."""
    mirrored = ALPHABET[::-1]
    return "".join(
        mirrored[ALPHABET.index(character)] if character in ALPHABET else character for character in text.lower()
    )


def columns(text: str, width: int) -> str:
    """Write a text in rows of ``width`` and read it by columns."""
    return "".join(text[start::width] for start in range(width))

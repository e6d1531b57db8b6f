"""Marks inside a line: *bold*, _slanted_ and `code`."""

TAGS = {"*": "b", "_": "i", "`": "code"}


def escape(text: str) -> str:
    """Characters that mean something in HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def render(text: str) -> str:
    """The line as HTML. Marks nest, code holds no marks, and a mark without its partner stays as it is."""
    result = ""
    place = 0
    while place < len(text):
        character = text[place]
        end = text.find(character, place + 1) if character in TAGS else -1
        if end > place + 1:
            inner = text[place + 1 : end]
            tag = TAGS[character]
            result += f"<{tag}>{escape(inner) if tag == 'code' else render(inner)}</{tag}>"
            place = end + 1
        else:
            result += escape(character)
            place += 1
    return result


def plain(text: str) -> str:
    """The line without marks."""
    return "".join(character for character in text if character not in TAGS)

"""Reads and writes single lines of comma-separated values."""


def parse(line: str, separator: str = ",") -> list[str]:
    """Fields of a line. A quoted field may hold separators, and quotes written twice.

    Raises:
        ValueError: for a quote that is not closed.
    """
    fields: list[str] = []
    field = ""
    quoted = False
    place = 0
    while place < len(line):
        character = line[place]
        if quoted:
            if character == '"' and line[place + 1 : place + 2] == '"':
                field += '"'
                place += 1
            elif character == '"':
                quoted = False
            else:
                field += character
        elif character == '"':
            quoted = True
        elif character == separator:
            fields.append(field)
            field = ""
        else:
            field += character
        place += 1
    if quoted:
        raise ValueError("A quote is not closed.")
    fields.append(field)
    return fields


def write(fields: list[str], separator: str = ",") -> str:
    """A line that `parse` reads back; only fields that need quotes get them."""
    parts = []
    for field in fields:
        if separator in field or '"' in field:
            field = '"' + field.replace('"', '""') + '"'
        parts.append(field)
    return separator.join(parts)


def records(lines: list[str]) -> list[dict[str, str]]:
    """Rows by the names in the first line; a short row has empty fields, and empty lines do not count."""
    names = parse(lines[0])
    rows = []
    for line in lines[1:]:
        if not line:
            continue
        fields = parse(line)
        fields += [""] * (len(names) - len(fields))
        rows.append(dict(zip(names, fields, strict=False)))
    return rows


def column(lines: list[str], name: str, default: str = "") -> list[str]:
    """The fields of one column, or the default where a row has none."""
    return [row.get(name, "") or default for row in records(lines)]

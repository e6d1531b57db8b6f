"""Matrices as lists of rows."""

Matrix = list[list[int]]


def transpose(matrix: Matrix) -> Matrix:
    """Rows become columns."""
    return [list(column) for column in zip(*matrix, strict=True)]


def multiply(left: Matrix, right: Matrix) -> Matrix:
    """The product.

    Raises:
        ValueError: when the sizes do not fit.
    """
    if left and len(left[0]) != len(right):
        raise ValueError("The left matrix needs as many columns as the right one has rows.")
    columns = transpose(right)
    return [[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in left]


def identity(size: int) -> Matrix:
    """Ones from the top left to the bottom right, zeros elsewhere."""
    return [[1 if row == column else 0 for column in range(size)] for row in range(size)]


def power(matrix: Matrix, exponent: int) -> Matrix:
    """A square matrix multiplied with itself; the identity for exponent 0."""
    result = identity(len(matrix))
    for _ in range(exponent):
        result = multiply(result, matrix)
    return result


def rotate(matrix: Matrix, turns: int = 1) -> Matrix:
    """Turned clockwise by so many quarters."""
    for _ in range(turns % 4):
        matrix = transpose(matrix[::-1])
    return matrix


def spiral(matrix: Matrix) -> list[int]:
    """The numbers from the top left, clockwise and inwards."""
    numbers: list[int] = []
    while matrix:
        numbers += matrix[0]
        matrix = transpose(matrix[1:])[::-1]
    return numbers


def trace(matrix: Matrix) -> int:
    """The sum from the top left to the bottom right."""
    return sum(row[place] for place, row in enumerate(matrix))

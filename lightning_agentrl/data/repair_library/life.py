"""Conway's game of life on a grid of # (alive) and . (dead), dead all round."""

Grid = list[str]


def alive(grid: Grid, row: int, column: int) -> bool:
    """Whether there is a living cell at a place, which may lie outside."""
    return 0 <= row < len(grid) and 0 <= column < len(grid[row]) and grid[row][column] == "#"


def neighbours(grid: Grid, row: int, column: int) -> int:
    """Number of living cells among the eight around a place."""
    count = 0
    for row_step in (-1, 0, 1):
        for column_step in (-1, 0, 1):
            if row_step == 0 and column_step == 0:
                continue
            if alive(grid, row + row_step, column + column_step):
                count += 1
    return count


def step(grid: Grid) -> Grid:
    """The next generation: a cell lives with 3 living neighbours, or with 2 if it is alive."""
    result = []
    for row in range(len(grid)):
        line = ""
        for column in range(len(grid[row])):
            around = neighbours(grid, row, column)
            lives = around == 3 or (around == 2 and alive(grid, row, column))
            line += "#" if lives else "."
        result.append(line)
    return result


def run(grid: Grid, steps: int) -> Grid:
    """The generation after so many steps."""
    for _ in range(steps):
        grid = step(grid)
    return grid


def period(grid: Grid, limit: int = 10) -> int | None:
    """After how many steps, at most ``limit``, the grid first looks the same again; None if it does not."""
    later = grid
    for count in range(1, limit + 1):
        later = step(later)
        if later == grid:
            return count
    return None


def population(grid: Grid) -> int:
    """Number of living cells."""
    return sum(line.count("#") for line in grid)

"""Starter problems: grids, that is, lists of rows."""

#: 1 returns the number of rows of the grid, which is a list of rows.
def count_rows(grid):
    return len(grid)
assert count_rows([[1, 2], [3, 4]]) == 2
assert count_rows([[1]]) == 1
assert count_rows([]) == 0
assert count_rows([[1], [2], [3]]) == 3

#: 1 returns the number of columns of the grid, which is a list of rows and has at least one row.
def count_columns(grid):
    return len(grid[0])
assert count_columns([[1, 2, 3], [4, 5, 6]]) == 3
assert count_columns([[1]]) == 1
assert count_columns([[1, 2], [3, 4], [5, 6]]) == 2
assert count_columns([[]]) == 0

#: 1 returns the number in the given row and column of the grid, both counted from 0.
def get_cell(grid, row, column):
    return grid[row][column]
assert get_cell([[1, 2], [3, 4]], 0, 1) == 2
assert get_cell([[1, 2], [3, 4]], 1, 0) == 3
assert get_cell([[7]], 0, 0) == 7
assert get_cell([[1, 2, 3], [4, 5, 6]], 1, 2) == 6

#: 1 returns the first row of the grid, which is a list of rows.
def first_row(grid):
    return grid[0]
assert first_row([[1, 2], [3, 4]]) == [1, 2]
assert first_row([[5]]) == [5]
assert first_row([[0, 0], [1, 1]]) == [0, 0]
assert first_row([["a"], ["b"], ["c"]]) == ["a"]

#: 1 returns the last row of the grid, which is a list of rows.
def last_row(grid):
    return grid[-1]
assert last_row([[1, 2], [3, 4]]) == [3, 4]
assert last_row([[5]]) == [5]
assert last_row([[1, 1], [0, 0]]) == [0, 0]
assert last_row([["a"], ["b"], ["c"]]) == ["c"]

#: 1 returns the sum of the numbers in the given row of the grid, counted from 0.
def row_sum(grid, row):
    return sum(grid[row])
assert row_sum([[1, 2], [3, 4]], 0) == 3
assert row_sum([[1, 2], [3, 4]], 1) == 7
assert row_sum([[5]], 0) == 5
assert row_sum([[1], [2], [-3]], 2) == -3

#: 1 returns a list of n zeros.
def zeros(n):
    return [0] * n
assert zeros(3) == [0, 0, 0]
assert zeros(0) == []
assert zeros(1) == [0]
assert zeros(5) == [0, 0, 0, 0, 0]

#: 1 returns the grid, a list of rows, with its rows in reverse order.
def flip_rows(grid):
    return list(reversed(grid))
assert flip_rows([[1, 2], [3, 4]]) == [[3, 4], [1, 2]]
assert flip_rows([[5]]) == [[5]]
assert flip_rows([]) == []
assert flip_rows([[1], [2], [3]]) == [[3], [2], [1]]

#: 1 returns the number of cells of a grid with so many rows and columns.
def count_cells(rows, columns):
    return rows * columns
assert count_cells(2, 3) == 6
assert count_cells(1, 1) == 1
assert count_cells(0, 4) == 0
assert count_cells(10, 10) == 100

#: 2 returns the sum of all numbers in the grid, which is a list of rows.
def grid_sum(grid):
    return sum(sum(row) for row in grid)
assert grid_sum([[1, 2], [3, 4]]) == 10
assert grid_sum([]) == 0
assert grid_sum([[5]]) == 5
assert grid_sum([[1], [-1], [7]]) == 7

#: 2 returns the given column of the grid, counted from 0, as a list.
def get_column(grid, column):
    return [row[column] for row in grid]
assert get_column([[1, 2], [3, 4]], 0) == [1, 3]
assert get_column([[1, 2], [3, 4]], 1) == [2, 4]
assert get_column([[7]], 0) == [7]
assert get_column([[1, 2, 3], [4, 5, 6]], 2) == [3, 6]

#: 2 returns the largest number in the grid, which is a list of rows.
def grid_max(grid):
    return max(max(row) for row in grid)
assert grid_max([[1, 9], [3, 4]]) == 9
assert grid_max([[5]]) == 5
assert grid_max([[-3, -2], [-1, -7]]) == -1
assert grid_max([[0], [0]]) == 0

#: 2 returns a grid with the given number of rows and columns in which every cell is the value.
def filled_grid(rows, columns, value):
    return [[value] * columns for _ in range(rows)]
assert filled_grid(2, 3, 0) == [[0, 0, 0], [0, 0, 0]]
assert filled_grid(1, 1, "x") == [["x"]]
assert filled_grid(0, 5, 1) == []
assert filled_grid(3, 1, 7) == [[7], [7], [7]]

#: 2 returns the grid with every row reversed, as in a mirror.
def mirror(grid):
    return [row[::-1] for row in grid]
assert mirror([[1, 2], [3, 4]]) == [[2, 1], [4, 3]]
assert mirror([[5]]) == [[5]]
assert mirror([]) == []
assert mirror([[1, 2, 3]]) == [[3, 2, 1]]

#: 2 returns how often the value occurs in the grid, which is a list of rows.
def count_in_grid(grid, value):
    return sum(row.count(value) for row in grid)
assert count_in_grid([[1, 2], [1, 1]], 1) == 3
assert count_in_grid([[1]], 2) == 0
assert count_in_grid([], 1) == 0
assert count_in_grid([["a", "b"], ["b", "a"]], "b") == 2

#: 3 returns the grid transposed: its rows become columns.
def transpose(grid):
    return [list(column) for column in zip(*grid)]
assert transpose([[1, 2, 3], [4, 5, 6]]) == [[1, 4], [2, 5], [3, 6]]
assert transpose([[1]]) == [[1]]
assert transpose([[1, 2]]) == [[1], [2]]
assert transpose([[1, 2], [3, 4]]) == [[1, 3], [2, 4]]

#: 3 returns the sum of the numbers on the diagonal of a square grid, from the upper left to the lower right.
def diagonal_sum(grid):
    return sum(grid[i][i] for i in range(len(grid)))
assert diagonal_sum([[1, 2], [3, 4]]) == 5
assert diagonal_sum([[7]]) == 7
assert diagonal_sum([[1, 0, 0], [0, 1, 0], [0, 0, 1]]) == 3
assert diagonal_sum([]) == 0
assert diagonal_sum([[1, 2, 3], [4, 5, 6], [7, 8, 9]]) == 15

#: 3 returns the identity matrix of size n: a grid with 1 on the diagonal and 0 elsewhere.
def identity_matrix(n):
    return [[int(i == j) for j in range(n)] for i in range(n)]
assert identity_matrix(2) == [[1, 0], [0, 1]]
assert identity_matrix(1) == [[1]]
assert identity_matrix(0) == []
assert identity_matrix(3) == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]

#: 3 returns the multiplication table of size n: row i, column j holds i times j, both counted from 1.
def multiplication_table(n):
    return [[i * j for j in range(1, n + 1)] for i in range(1, n + 1)]
assert multiplication_table(3) == [[1, 2, 3], [2, 4, 6], [3, 6, 9]]
assert multiplication_table(1) == [[1]]
assert multiplication_table(0) == []
assert multiplication_table(2) == [[1, 2], [2, 4]]

#: 4 returns the grid turned by 90 degrees clockwise.
def rotate_clockwise(grid):
    return [list(column)[::-1] for column in zip(*grid)]
assert rotate_clockwise([[1, 2], [3, 4]]) == [[3, 1], [4, 2]]
assert rotate_clockwise([[1]]) == [[1]]
assert rotate_clockwise([[1, 2, 3]]) == [[1], [2], [3]]
assert rotate_clockwise([[1, 2], [3, 4], [5, 6]]) == [[5, 3, 1], [6, 4, 2]]

#: 4 returns the product of two matrices, which are lists of rows.
def matrix_product(a, b):
    return [[sum(x * y for x, y in zip(row, column)) for column in zip(*b)] for row in a]
assert matrix_product([[1, 2], [3, 4]], [[5, 6], [7, 8]]) == [[19, 22], [43, 50]]
assert matrix_product([[2]], [[3]]) == [[6]]
assert matrix_product([[1, 0], [0, 1]], [[4, 5], [6, 7]]) == [[4, 5], [6, 7]]
assert matrix_product([[1, 2, 3]], [[1], [2], [3]]) == [[14]]

#: 4 returns how many neighbours of a cell are 1. The grid holds zeros and ones; a cell has up to 8 neighbours, also diagonal ones, and
#: is none of its own. Row and column count from 0.
def count_neighbours(grid, row, column):
    total = 0
    for i in range(max(0, row - 1), min(len(grid), row + 2)):
        for j in range(max(0, column - 1), min(len(grid[0]), column + 2)):
            if (i, j) != (row, column):
                total += grid[i][j]
    return total
assert count_neighbours([[1, 1, 1], [1, 1, 1], [1, 1, 1]], 1, 1) == 8
assert count_neighbours([[1, 1, 1], [1, 1, 1], [1, 1, 1]], 0, 0) == 3
assert count_neighbours([[1]], 0, 0) == 0
assert count_neighbours([[0, 1], [0, 0]], 0, 0) == 1
assert count_neighbours([[1, 0, 0], [0, 0, 0], [0, 0, 1]], 1, 1) == 2
assert count_neighbours([[1, 1, 1], [1, 1, 1], [1, 1, 1]], 2, 1) == 5
assert count_neighbours([[1, 0, 1], [0, 0, 0]], 1, 2) == 1

"""Starter problems: sequences of numbers, loops and recursion."""

#: 1 returns the list of the whole numbers from 0 to n - 1.
def count_up_to(n):
    return list(range(n))
assert count_up_to(3) == [0, 1, 2]
assert count_up_to(0) == []
assert count_up_to(1) == [0]
assert count_up_to(5) == [0, 1, 2, 3, 4]

#: 1 returns the number that comes after n.
def next_number(n):
    return n + 1
assert next_number(5) == 6
assert next_number(-1) == 0
assert next_number(0) == 1
assert next_number(99) == 100

#: 1 returns the list of the whole numbers from a to b, both included.
def numbers_between(a, b):
    return list(range(a, b + 1))
assert numbers_between(2, 5) == [2, 3, 4, 5]
assert numbers_between(3, 3) == [3]
assert numbers_between(-1, 1) == [-1, 0, 1]
assert numbers_between(5, 2) == []

#: 1 returns the sum of the whole numbers from 1 to n.
def sum_up_to(n):
    return sum(range(1, n + 1))
assert sum_up_to(4) == 10
assert sum_up_to(1) == 1
assert sum_up_to(0) == 0
assert sum_up_to(100) == 5050
# timed
assert sum_up_to(200000) == 20000100000

#: 1 returns 2 to the power of n.
def power_of_two(n):
    return 2 ** n
assert power_of_two(3) == 8
assert power_of_two(0) == 1
assert power_of_two(1) == 2
assert power_of_two(10) == 1024

#: 1 returns True if a is divisible by b, otherwise False.
def is_divisible(a, b):
    return a % b == 0
assert is_divisible(10, 5) == True
assert is_divisible(10, 3) == False
assert is_divisible(0, 7) == True
assert is_divisible(7, 14) == False

#: 1 returns the number n doubled.
def double(n):
    return 2 * n
assert double(4) == 8
assert double(0) == 0
assert double(-3) == -6
assert double(1.5) == 3.0

#: 1 returns the list of the whole numbers from n down to 1.
def count_down(n):
    return list(range(n, 0, -1))
assert count_down(3) == [3, 2, 1]
assert count_down(1) == [1]
assert count_down(0) == []
assert count_down(5) == [5, 4, 3, 2, 1]

#: 1 returns the first number raised to the power of the second.
def power(base, exponent):
    return base ** exponent
assert power(2, 3) == 8
assert power(5, 0) == 1
assert power(3, 2) == 9
assert power(-2, 3) == -8

#: 2 returns the factorial of n: the product of all whole numbers from 1 to n, and 1 for n = 0.
def factorial(n):
    result = 1
    for i in range(2, n + 1):
        result *= i
    return result
assert factorial(5) == 120
assert factorial(0) == 1
assert factorial(1) == 1
assert factorial(7) == 5040

#: 2 returns the list of the squares of the whole numbers from 1 to n.
def squares_up_to(n):
    return [i * i for i in range(1, n + 1)]
assert squares_up_to(3) == [1, 4, 9]
assert squares_up_to(0) == []
assert squares_up_to(1) == [1]
assert squares_up_to(5) == [1, 4, 9, 16, 25]

#: 2 returns the list of the even numbers from 1 to n, n included.
def even_numbers(n):
    return list(range(2, n + 1, 2))
assert even_numbers(7) == [2, 4, 6]
assert even_numbers(8) == [2, 4, 6, 8]
assert even_numbers(1) == []
assert even_numbers(2) == [2]

#: 2 returns the list of all numbers from 1 to n that divide n without a remainder.
def divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]
assert divisors(6) == [1, 2, 3, 6]
assert divisors(1) == [1]
assert divisors(7) == [1, 7]
assert divisors(12) == [1, 2, 3, 4, 6, 12]

#: 2 returns the product of all numbers in the list, and 1 for an empty list.
def product(numbers):
    result = 1
    for n in numbers:
        result *= n
    return result
assert product([2, 3, 4]) == 24
assert product([]) == 1
assert product([5]) == 5
assert product([7, 0, 2]) == 0
assert product([-1, 6]) == -6

#: 2 returns the first n multiples of the number k, beginning with k itself.
def multiples(k, n):
    return [k * i for i in range(1, n + 1)]
assert multiples(3, 4) == [3, 6, 9, 12]
assert multiples(5, 0) == []
assert multiples(7, 1) == [7]
assert multiples(10, 2) == [10, 20]

#: 3 returns True if n is a prime number: a whole number greater than 1 that only 1 and itself divide.
def is_prime(n):
    return n > 1 and all(n % d for d in range(2, int(n ** 0.5) + 1))
assert is_prime(7) == True
assert is_prime(9) == False
assert is_prime(1) == False
assert is_prime(2) == True
assert is_prime(0) == False
assert is_prime(97) == True
assert is_prime(4) == False
# timed
assert is_prime(1000003) == True

#: 3 returns the n-th Fibonacci number; the first two, for n = 0 and n = 1, are 0 and 1, and each later one is the sum of the two before
#: it.
def fibonacci(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
assert fibonacci(7) == 13
assert fibonacci(0) == 0
assert fibonacci(1) == 1
assert fibonacci(2) == 1
assert fibonacci(20) == 6765
# timed
assert fibonacci(90) == 2880067194370816120

#: 3 returns how many steps it takes to come from n to 1: an even number is halved, an odd one is multiplied by 3 and increased by 1.
def collatz_steps(n):
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps
assert collatz_steps(6) == 8
assert collatz_steps(1) == 0
assert collatz_steps(2) == 1
assert collatz_steps(3) == 7
assert collatz_steps(27) == 111
# timed
assert collatz_steps(837799) == 524

#: 3 returns True if n is a perfect number: greater than 1 and equal to the sum of its divisors other than n.
def is_perfect(n):
    return n > 1 and sum(d for d in range(1, n) if n % d == 0) == n
assert is_perfect(6) == True
assert is_perfect(8) == False
assert is_perfect(28) == True
assert is_perfect(1) == False
assert is_perfect(12) == False

#: 4 returns in how many ways one can climb a staircase of n steps when each move takes one or two steps.
def climb_stairs(n):
    a, b = 1, 1
    for _ in range(n):
        a, b = b, a + b
    return a
assert climb_stairs(3) == 3
assert climb_stairs(1) == 1
assert climb_stairs(2) == 2
assert climb_stairs(5) == 8
assert climb_stairs(10) == 89
# timed
assert climb_stairs(80) == 37889062373143906

#: 4 returns row n of Pascal's triangle as a list. Row 0 is [1]; in every later row the ends are 1 and each other number is the sum of
#: the two above it.
def pascal_row(n):
    row = [1]
    for _ in range(n):
        row = [1] + [a + b for a, b in zip(row, row[1:])] + [1]
    return row
assert pascal_row(3) == [1, 3, 3, 1]
assert pascal_row(0) == [1]
assert pascal_row(1) == [1, 1]
assert pascal_row(2) == [1, 2, 1]
assert pascal_row(5) == [1, 5, 10, 10, 5, 1]

#: 4 returns the length of the longest part of a list, elements left out anywhere but in order, in which every number is greater than
#: the one before.
def longest_increasing(numbers):
    best = []
    for i, n in enumerate(numbers):
        best.append(1 + max([best[j] for j in range(i) if numbers[j] < n], default=0))
    return max(best, default=0)
assert longest_increasing([3, 1, 2, 5, 4]) == 3
assert longest_increasing([]) == 0
assert longest_increasing([5, 4, 3]) == 1
assert longest_increasing([1, 2, 3]) == 3
assert longest_increasing([2, 2, 2]) == 1
assert longest_increasing([10, 9, 2, 5, 3, 7, 101, 18]) == 4
# timed
assert longest_increasing(list(range(150))) == 150

#: no code at all = silent
#: only comments = silent
# nothing
#: not Python = error SyntaxError
The answer is 42, since 6 times 7 is 42.
#: another language = error SyntaxError
#include <stdio.h>
int main() { return 0; }
#: input with nothing to read = error EOFError: EOF when reading a line
input()
#: reads lines that are not there = silent
assert sys.stdin.read() == "" and list(sys.stdin) == []
#: exits = exit 0
sys.exit()
#: exits with a number = exit 7
sys.exit(7)
#: exits with a large number = exit 44
sys.exit(300)
#: exits with words = error no more
sys.exit("no more")
#: exits with something strange = error [1, 2]
sys.exit([1, 2])
#: exits by raising = exit 3
raise SystemExit(3)
#: exits at once = exit 4
os._exit(4)
#: exits with true = exit 1
exit = sys.exit
exit(True)
#: exits in a thread = silent
import threading

try:
    thread = threading.Thread(target=sys.exit, args=(5,))
    thread.start()
    thread.join()
except RuntimeError:
    pass
#: raises what is interrupted by a key = error KeyboardInterrupt
raise KeyboardInterrupt
#: an exception that cannot be shown = error Nasty
class Nasty(Exception):
    def __str__(self):
        raise ValueError


raise Nasty
#: an exception that shows itself for ever = cpu
class Nasty(Exception):
    def __str__(self):
        while True:
            pass


raise Nasty
#: an exception with a huge message = error characters left out
raise ValueError("x" * 10_000_000)
#: a long chain of exceptions = error ValueError
def f(n):
    try:
        raise ValueError(n)
    except ValueError as error:
        if n < 200:
            f(n + 1)
        raise KeyError(n) from error


f(0)
#: replaces stdout and stderr = ends
sys.stdout = sys.stderr = None
print("x")
raise ValueError
#: a traceback after memory is used up = error MemoryError
import mmap

size, held = 1 << 28, []
while size > 4096:
    try:
        held.append(mmap.mmap(-1, size))
    except OSError:
        size //= 2
x = [0] * 10**6
while True:
    x += x

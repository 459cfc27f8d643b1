"""What torch has once for the whole process is changed by one thread at a time."""

from threading import RLock

ALONE = RLock()
"""Held while torch's default dtype is another one, and while its generator is seeded and put back: of two threads that
build at once each would draw under the other's seed, and leave the other's dtype behind as the default. Whatever
else draws numbers in the meantime, a program's own threads, is outside of it."""

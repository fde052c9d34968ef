"""The token ids that all sides read: the noise of `agent0 bench engine`."""

WORD = (1 << 64) - 1


def noise(vocab, count, salt):
    """`count` ids below `vocab` that depend on `salt` (SplitMix64)."""
    ids = []
    for i in range(count):
        z = ((salt << 32) + i + 1) * 0x9E3779B97F4A7C15 & WORD
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & WORD
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & WORD
        ids.append((z ^ (z >> 31)) % vocab)
    return ids


def sequences(vocab, count, length):
    """`count` sequences, each its own."""
    return [noise(vocab, length, salt) for salt in range(count)]

//! Running untrusted Python: isolation, limits, one warm zygote.

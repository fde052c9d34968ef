//! The user's cache: models by name, verified downloads, and the Python tool's environment.

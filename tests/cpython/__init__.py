"""A CPython that writes perf maps: 3.12 was the first to do so, and Debian 12 has 3.11."""

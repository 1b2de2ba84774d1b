"""The core handler's parts without a kernel: settings, spool, privacy, time limits."""

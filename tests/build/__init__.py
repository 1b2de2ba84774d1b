"""Independent builders of test inputs: nothing here imports the package under test.

A reader and a builder that share one layout table agree on its mistakes. These builders
carry their own, checked against readelf, eu-readelf and pyelftools by tests/unit/build.
"""

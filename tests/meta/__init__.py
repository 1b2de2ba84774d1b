"""The project itself: its layers, imports, public names, documents and examples."""

"""Reduces a core of gigabytes to what a walk of it reads, some kilobytes that can be kept here.

`reduction.reduce` is the whole of it: walk the core with its files at hand, put the files' pages
into the core, walk that alone and note what is read, keep that much, walk what is kept. All
three walks must find the same frames.
"""

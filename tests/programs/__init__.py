"""Small programs that crash in known ways, and the real cores made from them on the spot.

``table``  what there is: source, compiler, flags, and the stack known from the source
``build``  compiles one program into a cached folder, or says why this machine cannot
``cores``  makes a core of it: by the kernel, by gcore, or by qemu-user
"""

/* A library whose segments are linked far apart, as on aarch64: see holes.c. */
int in_library(int (*made)(void))
{
    return made() + 1;
}

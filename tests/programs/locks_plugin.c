/* A library whose constructor calls the program. */

void in_constructor(void);

static __attribute__((constructor)) void construct(void)
{
    in_constructor();
}

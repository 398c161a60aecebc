/* A module for nginx that leaves a mark as soon as it is loaded. */
#include <stdio.h>
#include <unistd.h>

__attribute__((constructor)) static void loaded(void)
{
    char path[4096];
    snprintf(path, sizeof path, MARKS "/module-loaded-by-uid-%d.%d", (int)geteuid(), (int)getpid());
    FILE *mark = fopen(path, "w");
    if (mark)
        fclose(mark);
}

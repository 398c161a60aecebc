/* A process whose command line is huge: it begins as the title of an nginx master, and zeros follow. Any user may do
   this where the kernel has CONFIG_CHECKPOINT_RESTORE; it costs no memory. */
#include <linux/prctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(void)
{
    unsigned long size = 8UL << 30;
    char *line = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (line == MAP_FAILED)
        return 1;
    strcpy(line, "nginx: master process /usr/sbin/nginx");
    unsigned long begin = (unsigned long)line;
    struct prctl_mm_map map = {
        .start_code = begin, .end_code = begin + 1, .start_data = begin, .end_data = begin + 1,
        .start_brk = begin, .brk = begin + 1, .start_stack = begin,
        .arg_start = begin, .arg_end = begin + size, .env_start = begin, .env_end = begin + 1,
        .exe_fd = (unsigned)-1,
    };
    if (prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0) != 0) {
        puts("refused");
        return 1;
    }
    (void)!write(1, "ready\n", 6);
    for (;;)
        pause();
}

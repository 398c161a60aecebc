/* Stands for appcmd.exe and netsh.exe in tests: writes its words down, one line a call, in a file beside it called
 * "lines". Where there is a file "fail" it says so and ends with 5; where there is one "slow" it does not end. */
#include <windows.h>
#include <stdio.h>

int main(void)
{
    char path[600], said[100] = "";
    WCHAR *line = GetCommandLineW();
    static char utf8[20000];
    FILE *file;
    GetModuleFileNameA(NULL, path, 500);
    char *name = strrchr(path, '\\') + 1;
    char program[100];
    strcpy(program, name);
    *strrchr(program, '.') = 0;
    /* The program's own name comes first, between quotes. */
    if (*line == '"')
        for (line++; *line && *line++ != '"';)
            ;
    else
        while (*line && *line != ' ')
            line++;
    WideCharToMultiByte(CP_UTF8, 0, line, -1, utf8, sizeof utf8, NULL, NULL);
    strcpy(name, "lines");
    if ((file = fopen(path, "ab"))) {
        fprintf(file, "%s%s\n", program, utf8);
        fclose(file);
    }
    strcpy(name, "slow");
    if (GetFileAttributesA(path) != INVALID_FILE_ATTRIBUTES)
        Sleep(60000);
    strcpy(name, "fail");
    if ((file = fopen(path, "rb"))) {
        if (fgets(said, sizeof said, file))
            puts(said);
        fclose(file);
        return 5;
    }
    return 0;
}

/* Stands for HTTP.sys in tests: its records of certificates, kept in a file, with the answers that the documentation of
 * httpapi.dll gives. The structures are written down anew from that documentation, so that a mistake in certhook's own
 * is seen. Beside the records (CERTHOOK_FAKE_RECORDS, else this file's name and ".records") there may be
 *
 *   .fail   "2 1450": the second change from now on fails by that number
 *   .log    what was changed, in order
 *
 * Built with -DOLD it has no HttpUpdateServiceConfiguration. */
#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>
#include <stdio.h>

#define MOST 64

typedef struct {
    ULONG hash_length;
    void *hash;
    GUID app;
    WCHAR *store;
    DWORD check_mode, freshness, timeout;
    WCHAR *ctl_identifier, *ctl_store;
    DWORD flags;
} PARAMETERS;

typedef struct { SOCKADDR *address; PARAMETERS parameters; } ADDRESS_SET;
typedef struct { SOCKADDR_STORAGE address; WCHAR *host; PARAMETERS parameters; } HOST_SET;
typedef struct { SOCKADDR_STORAGE address; PARAMETERS parameters; } CENTRAL_SET;
typedef struct { int what; SOCKADDR *address; DWORD token; } ADDRESS_QUERY;
typedef struct { int what; SOCKADDR_STORAGE address; WCHAR *host; DWORD token; } HOST_QUERY;
typedef struct { int what; SOCKADDR_STORAGE address; DWORD token; } CENTRAL_QUERY;

enum { ADDRESSES = 1, HOSTS = 5, CENTRAL = 6 };

/* One line of the file: every text is in UTF-8, "-" where there is none. */
typedef struct {
    char kind[8], place[300], hash[200], app[40], store[100], identifier[300], list[300];
    unsigned long check_mode, freshness, timeout, flags;
} RECORD;

static HMODULE self;
static int initialized;

BOOL WINAPI DllMain(HINSTANCE module, DWORD reason, void *reserved)
{
    (void)reserved;
    if (reason == DLL_PROCESS_ATTACH)
        self = module;
    return TRUE;
}

static FILE *file(const char *end, const char *mode)
{
    char path[600];
    if (!GetEnvironmentVariableA("CERTHOOK_FAKE_RECORDS", path, 500)) {
        GetModuleFileNameA(self, path, 500);
        strcat(path, ".records");
    }
    strcat(path, end);
    return fopen(path, mode);
}

static int load(RECORD *all)
{
    char line[2000];
    int count = 0;
    FILE *in = file("", "rb");
    if (!in)
        return 0;
    while (count < MOST && fgets(line, sizeof line, in)) {
        RECORD *r = all + count;
        if (sscanf(line, "%7[^\t]\t%299[^\t]\t%199[^\t]\t%39[^\t]\t%99[^\t]\t%lu\t%lu\t%lu\t%299[^\t]\t%299[^\t]\t%lu",
                   r->kind, r->place, r->hash, r->app, r->store, &r->check_mode, &r->freshness, &r->timeout,
                   r->identifier, r->list, &r->flags) == 11)
            count++;
    }
    fclose(in);
    return count;
}

static void save(const RECORD *all, int count)
{
    FILE *out = file("", "wb");
    if (!out)
        return;
    for (int i = 0; i < count; i++) {
        const RECORD *r = all + i;
        fprintf(out, "%s\t%s\t%s\t%s\t%s\t%lu\t%lu\t%lu\t%s\t%s\t%lu\n", r->kind, r->place, r->hash, r->app, r->store,
                r->check_mode, r->freshness, r->timeout, r->identifier, r->list, r->flags);
    }
    fclose(out);
}

static void narrow(char *to, int room, const WCHAR *from)
{
    if (!from || !WideCharToMultiByte(CP_UTF8, 0, from, -1, to, room, NULL, NULL))
        strcpy(to, "-");
}

static int place(char *to, const SOCKADDR *address, const WCHAR *host)
{
    char name[260];
    if (!address)
        return 0;
    if (address->sa_family == AF_INET) {
        const SOCKADDR_IN *v4 = (const void *)address;
        const unsigned char *b = (const void *)&v4->sin_addr;
        int port = v4->sin_port >> 8 | (v4->sin_port & 255) << 8;
        if (host) {
            narrow(name, sizeof name, host);
            sprintf(to, "%s:%d", name, port);
        } else
            sprintf(to, "%d.%d.%d.%d:%d", b[0], b[1], b[2], b[3], port);
        return 1;
    }
    if (address->sa_family == AF_INET6 && !host) {
        const SOCKADDR_IN6 *v6 = (const void *)address;
        const unsigned char *b = (const void *)&v6->sin6_addr;
        *to++ = '[';
        for (int i = 0; i < 16; i += 2)
            to += sprintf(to, "%s%x", i ? ":" : "", b[i] << 8 | b[i + 1]);
        sprintf(to, "]:%d", v6->sin6_port >> 8 | (v6->sin6_port & 255) << 8);
        return 1;
    }
    return 0;
}

static void unplace(RECORD *r, SOCKADDR_STORAGE *address, char *host)
{
    char *colon = strrchr(r->place, ':');
    int port = atoi(colon + 1);
    memset(address, 0, sizeof *address);
    if (r->place[0] == '[') {
        SOCKADDR_IN6 *v6 = (void *)address;
        unsigned char *b = (void *)&v6->sin6_addr;
        char *at = r->place + 1;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = (USHORT)(port >> 8 | (port & 255) << 8);
        for (int i = 0; i < 16; i += 2) {
            unsigned long group = strtoul(at, &at, 16);
            b[i] = (unsigned char)(group >> 8), b[i + 1] = (unsigned char)group;
            at++;
        }
        return;
    }
    SOCKADDR_IN *v4 = (void *)address;
    unsigned b[4] = {0};
    v4->sin_family = AF_INET;
    v4->sin_port = (USHORT)(port >> 8 | (port & 255) << 8);
    if (strcmp(r->kind, "ip") == 0) {
        sscanf(r->place, "%u.%u.%u.%u", b, b + 1, b + 2, b + 3);
        for (int i = 0; i < 4; i++)
            ((unsigned char *)&v4->sin_addr)[i] = (unsigned char)b[i];
    }
    strncpy(host, r->place, (size_t)(colon - r->place));
    host[colon - r->place] = 0;
}

/* What a call is about, or why it is refused. */
static ULONG read_set(int id, const void *information, ULONG length, RECORD *r, int whole)
{
    const PARAMETERS *of;
    int known;
    if (!initialized || !information)
        return ERROR_INVALID_PARAMETER;
    memset(r, 0, sizeof *r);
    if (id == ADDRESSES && length == sizeof(ADDRESS_SET)) {
        const ADDRESS_SET *set = information;
        of = &set->parameters, known = place(r->place, set->address, NULL), strcpy(r->kind, "ip");
    } else if (id == HOSTS && length == sizeof(HOST_SET)) {
        const HOST_SET *set = information;
        if (!set->host || !*set->host)
            return ERROR_INVALID_PARAMETER;
        of = &set->parameters, known = place(r->place, (const SOCKADDR *)&set->address, set->host), strcpy(r->kind, "sni");
    } else if (id == CENTRAL && length == sizeof(CENTRAL_SET)) {
        const CENTRAL_SET *set = information;
        of = &set->parameters, known = place(r->place, (const SOCKADDR *)&set->address, NULL), strcpy(r->kind, "ccs");
    } else
        return ERROR_INVALID_PARAMETER;
    if (!known)
        return ERROR_INVALID_PARAMETER;
    if (!whole)
        return 0;
    if (id != CENTRAL && (!of->hash || of->hash_length == 0 || of->hash_length > 64))
        return ERROR_INVALID_PARAMETER;
    strcpy(r->hash, "-");
    for (ULONG i = 0; of->hash && i < of->hash_length; i++)
        sprintf(r->hash + 2 * i, "%02X", ((const unsigned char *)of->hash)[i]);
    sprintf(r->app, "%08lx-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", of->app.Data1, of->app.Data2, of->app.Data3,
            of->app.Data4[0], of->app.Data4[1], of->app.Data4[2], of->app.Data4[3], of->app.Data4[4], of->app.Data4[5],
            of->app.Data4[6], of->app.Data4[7]);
    narrow(r->store, sizeof r->store, of->store);
    narrow(r->identifier, sizeof r->identifier, of->ctl_identifier);
    narrow(r->list, sizeof r->list, of->ctl_store);
    r->check_mode = of->check_mode, r->freshness = of->freshness, r->timeout = of->timeout, r->flags = of->flags;
    return 0;
}

static int at(const RECORD *all, int count, const RECORD *wanted)
{
    for (int i = 0; i < count; i++)
        if (strcmp(all[i].kind, wanted->kind) == 0 && _stricmp(all[i].place, wanted->place) == 0)
            return i;
    return -1;
}

static ULONG failing(const char *call, const RECORD *r)
{
    unsigned long left = 0, code = 0;
    FILE *of = file(".fail", "rb");
    FILE *log = file(".log", "ab");
    if (log) {
        fprintf(log, "%s %s %s\n", call, r->kind, r->place);
        fclose(log);
    }
    if (!of)
        return 0;
    int read = fscanf(of, "%lu %lu", &left, &code);
    fclose(of);
    if (read != 2 || left == 0)
        return 0;
    of = file(".fail", "wb");
    fprintf(of, "%lu %lu", left - 1, code);
    fclose(of);
    return left == 1 ? code : 0;
}

typedef enum { SET, UPDATE, REMOVE } CHANGE;

static ULONG change(CHANGE how, int id, const void *information, ULONG length)
{
    static const char *const names[] = {"set", "update", "delete"};
    RECORD all[MOST + 1], wanted;
    ULONG code = read_set(id, information, length, &wanted, how != REMOVE);
    if (!code)
        code = failing(names[how], &wanted);
    if (code)
        return code;
    int count = load(all), index = at(all, count, &wanted);
    if (how == SET && index >= 0)
        return ERROR_ALREADY_EXISTS;
    if (how != SET && index < 0)
        return ERROR_FILE_NOT_FOUND;
    if (how == SET)
        all[count++] = wanted;
    else if (how == UPDATE)
        all[index] = wanted;
    else
        all[index] = all[--count];
    save(all, count);
    return 0;
}

__declspec(dllexport) ULONG WINAPI HttpInitialize(ULONG version, ULONG flags, void *reserved)
{
    /* HTTPAPI_VERSION is two shorts by value. */
    if ((version != 1 && version != 2) || flags != 2 || reserved)
        return ERROR_INVALID_PARAMETER;
    initialized++;
    return 0;
}

__declspec(dllexport) ULONG WINAPI HttpTerminate(ULONG flags, void *reserved)
{
    (void)flags, (void)reserved;
    initialized--;
    return 0;
}

__declspec(dllexport) ULONG WINAPI HttpSetServiceConfiguration(HANDLE service, int id, void *information, ULONG length, void *o)
{
    return service || o ? ERROR_INVALID_PARAMETER : change(SET, id, information, length);
}

__declspec(dllexport) ULONG WINAPI HttpDeleteServiceConfiguration(HANDLE service, int id, void *information, ULONG length, void *o)
{
    return service || o ? ERROR_INVALID_PARAMETER : change(REMOVE, id, information, length);
}

#ifndef OLD
__declspec(dllexport) ULONG WINAPI HttpUpdateServiceConfiguration(HANDLE service, int id, void *information, ULONG length, void *o)
{
    return service || o ? ERROR_INVALID_PARAMETER : change(UPDATE, id, information, length);
}
#endif

static WCHAR *widen(char **end, const char *text)
{
    WCHAR *to = (WCHAR *)*end;
    if (strcmp(text, "-") == 0)
        return NULL;
    *end += 2 * MultiByteToWideChar(CP_UTF8, 0, text, -1, to, 500);
    return to;
}

static void answer(RECORD *r, PARAMETERS *to, char **end)
{
    unsigned part[11];
    to->hash_length = strcmp(r->hash, "-") ? (ULONG)strlen(r->hash) / 2 : 0;
    to->store = widen(end, r->store);
    to->ctl_identifier = widen(end, r->identifier);
    to->ctl_store = widen(end, r->list);
    to->hash = to->hash_length ? *end : NULL;
    for (ULONG i = 0; i < to->hash_length; i++) {
        unsigned byte;
        sscanf(r->hash + 2 * i, "%2x", &byte);
        *(*end)++ = (char)byte;
    }
    sscanf(r->app, "%8x-%4x-%4x-%2x%2x-%2x%2x%2x%2x%2x%2x", part, part + 1, part + 2, part + 3, part + 4, part + 5,
           part + 6, part + 7, part + 8, part + 9, part + 10);
    to->app.Data1 = part[0], to->app.Data2 = (USHORT)part[1], to->app.Data3 = (USHORT)part[2];
    for (int i = 0; i < 8; i++)
        to->app.Data4[i] = (unsigned char)part[3 + i];
    to->check_mode = r->check_mode, to->freshness = r->freshness, to->timeout = r->timeout, to->flags = r->flags;
}

__declspec(dllexport) ULONG WINAPI HttpQueryServiceConfiguration(HANDLE service, int id, void *input, ULONG length,
                                                                 void *output, ULONG room, ULONG *needed, void *o)
{
    RECORD all[MOST + 1];
    char host[260] = "", *begin, *end;
    SOCKADDR_STORAGE address;
    const char *kind;
    DWORD token;
    int what, count, index;
    if (service || o || !input || !initialized)
        return ERROR_INVALID_PARAMETER;
    if (id == ADDRESSES && length == sizeof(ADDRESS_QUERY))
        kind = "ip", what = ((ADDRESS_QUERY *)input)->what, token = ((ADDRESS_QUERY *)input)->token;
    else if (id == HOSTS && length == sizeof(HOST_QUERY))
        kind = "sni", what = ((HOST_QUERY *)input)->what, token = ((HOST_QUERY *)input)->token;
    else if (id == CENTRAL && length == sizeof(CENTRAL_QUERY))
        kind = "ccs", what = ((CENTRAL_QUERY *)input)->what, token = ((CENTRAL_QUERY *)input)->token;
    else
        return ERROR_INVALID_PARAMETER;
    if (what != 1)
        return ERROR_INVALID_PARAMETER;
    count = load(all);
    for (index = 0; index < count; index++)
        if (strcmp(all[index].kind, kind) == 0 && token-- == 0)
            break;
    if (index == count)
        return ERROR_NO_MORE_ITEMS;
    /* Made elsewhere first, for its length; a little too long, as Windows's is. */
    begin = calloc(1, 8192);
    end = begin + 512;
    unplace(all + index, &address, host);
    if (id == ADDRESSES) {
        ADDRESS_SET *set = (void *)begin;
        set->address = (SOCKADDR *)end;
        memcpy(end, &address, sizeof address);
        end += sizeof address;
        answer(all + index, &set->parameters, &end);
    } else if (id == HOSTS) {
        HOST_SET *set = (void *)begin;
        set->address = address;
        set->host = widen(&end, host);
        answer(all + index, &set->parameters, &end);
    } else {
        CENTRAL_SET *set = (void *)begin;
        set->address = address;
        answer(all + index, &set->parameters, &end);
    }
    ULONG size = (ULONG)(end - begin) + 1024;
    if (needed)
        *needed = size;
    if (!output || room < size) {
        free(begin);
        return ERROR_INSUFFICIENT_BUFFER;
    }
    memcpy(output, begin, (size_t)(end - begin));
    /* What it points at is in the caller's buffer now. */
    ptrdiff_t moved = (char *)output - begin;
#define MOVE(p) do { if (p) (p) = (void *)((char *)(p) + moved); } while (0)
    PARAMETERS *of = id == ADDRESSES ? &((ADDRESS_SET *)output)->parameters
                     : id == HOSTS   ? &((HOST_SET *)output)->parameters
                                     : &((CENTRAL_SET *)output)->parameters;
    if (id == ADDRESSES)
        MOVE(((ADDRESS_SET *)output)->address);
    if (id == HOSTS)
        MOVE(((HOST_SET *)output)->host);
    MOVE(of->hash);
    MOVE(of->store);
    MOVE(of->ctl_identifier);
    MOVE(of->ctl_store);
    free(begin);
    return 0;
}

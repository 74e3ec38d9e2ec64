/* SPDX-License-Identifier: MIT */
#include "programs.h"

#include "safetensors.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct programs_last last;

void run_to(const char *out, const char *const *argv)
{
    const char *err = files_path(".err");
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status;
    size_t size;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    last.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    free(last.out);
    free(last.err);
    last.out = strncmp(out, "/dev/", 5) == 0 ? strdup("") : files_read(out, &size);
    last.err = files_read(err, &size);
    files_remove(".out");
    files_remove(".err");
}

void interrupt(const char *const *argv, const char *text, int signal)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int ends[2], status;
    char out[4096] = "", rest[256];
    size_t length = 0;
    ssize_t got;
    assert_int_equal(pipe(ends), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    assert_int_equal(posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    while (!strstr(out, text) && (got = read(ends[0], out + length, sizeof(out) - 1 - length)) > 0)
        length += (size_t)got;
    assert_non_null(strstr(out, text));
    assert_int_equal(kill(pid, signal), 0);
    while (read(ends[0], rest, sizeof(rest)) > 0)
        ;
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == signal);
    free(last.out);
    last.out = strdup(out);
}

void show(const char *what)
{
    print_error("%s; exit %d, stdout:\n%s\nstderr:\n%s\n", what, last.code, last.out, last.err);
}

void assert_exit(int code)
{
    if (last.code != code)
        show("wrong exit code");
    assert_int_equal(last.code, code);
}

void assert_printed(const char *text)
{
    if (!strstr(last.out, text))
        show(text);
    assert_non_null(strstr(last.out, text));
}

void assert_success(void)
{
    assert_exit(0);
    assert_string_equal(last.err, "");
}

void assert_one_line(int code, const char *text)
{
    const char *newline = strchr(last.err, '\n');
    assert_exit(code);
    if (!newline || newline[1] || strncmp(last.err, "dijiang-", 8) != 0 || !strstr(last.err, text))
        show(text);
    assert_non_null(newline);
    assert_int_equal(newline[1], '\0');
    assert_int_equal(strncmp(last.err, "dijiang-", 8), 0);
    assert_non_null(strstr(last.err, text));
}

void assert_nothing_but(int code, const char *text)
{
    assert_one_line(code, text);
    assert_string_equal(last.out, "");
    assert_false(files_exists("none"));
}

void scan_error(double *error, double *bound)
{
    const char *line = strstr(last.out, "\nerror ");
    assert_non_null(line);
    assert_int_equal(sscanf(line, "\nerror %lf (bound %lf)\n", error, bound), 2);
}

const char *write_parts(const char *name, const struct part *parts, size_t count)
{
    char header[4096] = "{";
    size_t offset = 0;
    for (size_t i = 0; i < count; i++)
        offset += parts[i].size;
    char *data = calloc(offset + 1, 1);
    assert_non_null(data);
    offset = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(header);
        snprintf(header + length, sizeof(header) - length,
                 "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                 i ? "," : "", parts[i].name, parts[i].type, parts[i].shape, offset,
                 offset + parts[i].size);
        if (parts[i].data)
            memcpy(data + offset, parts[i].data, parts[i].size);
        offset += parts[i].size;
    }
    strcat(header, "}");
    const char *path = files_write_tensors(name, header, data, offset);
    free(data);
    return path;
}

float *read_out(const char *path, uint64_t count)
{
    struct safetensors_error error;
    struct safetensors *file = safetensors_open(path, &error);
    assert_non_null(file);
    const struct safetensors_tensor *tensor = safetensors_find(file, "out");
    assert_non_null(tensor);
    assert_int_equal(file->count, 1);
    assert_string_equal(tensor->type, "F32");
    assert_int_equal(tensor->count, count);
    float *data = malloc((count + 1) * sizeof(float));
    assert_non_null(data);
    assert_true(safetensors_read(file, tensor, data, &error));
    safetensors_close(&file);
    return data;
}

static char cache[] = "/tmp/dijiang-test-cache-XXXXXX";

const char *programs_cache(void)
{
    static char path[sizeof(cache) + 16];
    snprintf(path, sizeof(path), "%s/dijiang", cache);
    return path;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

/* With what others keep there: the validation layer, say. */
static void remove_cache(void)
{
    nftw(cache, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Mesa's own cache stays the user's: what it compiled once need not be compiled for every program.
 */
static void keep_shader_cache(void)
{
    char path[512];
    const char *const base = getenv("XDG_CACHE_HOME"), *const home = getenv("HOME");
    if (base)
        setenv("MESA_SHADER_CACHE_DIR", base, 0);
    else if (home && snprintf(path, sizeof path, "%s/.cache", home) < (int)sizeof path)
        setenv("MESA_SHADER_CACHE_DIR", path, 0);
}

int programs_setup(void **state)
{
    uint32_t count;
    const struct dj_context_params params = {.validation = DJ_ON};
    if (!mkdtemp(cache))
        return -1;
    keep_shader_cache();
    setenv("XDG_CACHE_HOME", cache, 1); /* not the user's own */
    if (dj_device_list(&params, NULL, &count) == DJ_SUCCESS)
        setenv("DIJIANG_VALIDATION", "1", 1);
    return harness_setup(state) || files_setup(state);
}

int programs_teardown(void **state)
{
    free(last.out);
    free(last.err);
    remove_cache();
    return files_teardown(state) || harness_teardown(state);
}

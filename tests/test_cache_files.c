/* SPDX-License-Identifier: MIT */
/* The files of caches: what is found, what is refused, what is left behind. */
#include "caches.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    OTHER_USER = 65534
};

static char base[64]; /* a folder of the test's own */

static const char *in_base(const char *name)
{
    static char paths[4][512];
    static unsigned next;
    char *const path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", base, name);
    return path;
}

static int base_setup(void **state)
{
    snprintf(base, sizeof base, "/tmp/dijiang-test-XXXXXX");
    return mkdtemp(base) && harness_reseed(state) == 0 ? 0 : -1;
}

static void remove_below(const char *path)
{
    struct stat status;
    char below[1024];
    if (lstat(path, &status) != 0)
        return;
    DIR *const directory = S_ISDIR(status.st_mode) ? opendir(path) : NULL;
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(below, sizeof below, "%.500s/%.500s", path, entry->d_name);
        remove_below(below);
    }
    if (directory)
        closedir(directory);
    remove(path);
}

static int base_teardown(void **state)
{
    remove_below(base);
    return harness_check_validation(state);
}

/* The path of the only entry of a folder. */
static const char *only_entry(const char *folder)
{
    static char path[1024];
    int count = 0;
    DIR *const directory = opendir(folder);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof path, "%s/%.500s", folder, entry->d_name);
        count++;
    }
    closedir(directory);
    assert_int_equal(count, 1);
    return path;
}

static mode_t mode_of(const char *path)
{
    struct stat status;
    assert_int_equal(lstat(path, &status), 0);
    return status.st_mode;
}

/* A folder with a saved cache; returns the file. */
static const char *saved(dj_context *context, const char *folder)
{
    HARNESS_OK(dj_cache_file_save(context, folder));
    return only_entry(folder);
}

static void a_file_saves_compiling_and_trials(void **state)
{
    (void)state;
    const char *const folder = in_base("made");
    dj_context *context = context_on(0, NULL, 0);
    context->log.level = DJ_LOG_DEBUG;
    HARNESS_OK(dj_cache_file_load(context, folder)); /* none yet */
    assert_true(logged(DJ_LOG_DEBUG, "cache: no folder yet"));
    assert_int_equal(mkdir(folder, 0700), 0);
    HARNESS_OK(dj_cache_file_load(context, folder));
    assert_true(logged(DJ_LOG_DEBUG, ".cache yet"));
    assert_int_equal(rmdir(folder), 0);
    make_plans(context);
    const char *const file = saved(context, folder);
    assert_int_equal(mode_of(folder) & 0777, 0700);
    assert_true(S_ISREG(mode_of(file)));
    char version[32]; /* other versions of the library keep files of their own */
    snprintf(version, sizeof version, "-%u.cache", dj_version());
    assert_non_null(strstr(file, version));
    assert_int_equal(mode_of(file) & 0777, 0600);
    done(&context);
    context = context_on(0, NULL, 0);
    context->log.level = DJ_LOG_DEBUG;
    HARNESS_OK(dj_cache_file_load(context, folder));
    assert_true(logged(DJ_LOG_DEBUG, "the cache is used"));
    watch(context);
    make_plans(context);
    assert_took(0, 0);
    done(&context);
}

static void a_file_is_replaced_as_a_whole(void **state)
{
    (void)state;
    char old[100], again[100];
    struct stat before, after;
    dj_context *context = context_on(0, NULL, 0);
    const char *file = saved(context, base);
    const int reader = open(file, O_RDONLY);
    assert_true(reader >= 0);
    assert_int_equal(fstat(reader, &before), 0);
    assert_int_equal(pread(reader, old, sizeof old, 0), sizeof old);
    make_plans(context);
    file = saved(context, base); /* and nothing else is left behind */
    assert_int_equal(stat(file, &after), 0);
    assert_true(before.st_ino != after.st_ino);
    assert_int_equal(pread(reader, again, sizeof again, 0), sizeof again);
    assert_memory_equal(old, again, sizeof old); /* who had it open still reads the old one */
    close(reader);
    HARNESS_OK(dj_cache_file_load(context, base));
    done(&context);
}

static void the_environment_names_the_folder(void **state)
{
    (void)state;
    char xdg[512] = "", home[512] = "";
    const char *const old_xdg = getenv("XDG_CACHE_HOME"), *const old_home = getenv("HOME");
    snprintf(xdg, sizeof xdg, "%s", old_xdg ? old_xdg : "");
    snprintf(home, sizeof home, "%s", old_home ? old_home : "");
    dj_context *context = context_on(0, NULL, 0);
    setenv("XDG_CACHE_HOME", in_base("xdg"), 1);
    setenv("HOME", base, 1);
    HARNESS_OK(dj_cache_file_load(context, NULL));
    HARNESS_OK(dj_cache_file_save(context, NULL));
    only_entry(in_base("xdg/dijiang"));
    assert_int_equal(mode_of(in_base("xdg")) & 0777, 0700);
    setenv("XDG_CACHE_HOME", "relative", 1); /* counts as not set */
    HARNESS_OK(dj_cache_file_save(context, NULL));
    only_entry(in_base(".cache/dijiang"));
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    HARNESS_RESULT(dj_cache_file_load(context, NULL), DJ_ERROR_FILE);
    HARNESS_RESULT(dj_cache_file_save(context, NULL), DJ_ERROR_FILE);
    if (old_xdg)
        setenv("XDG_CACHE_HOME", xdg, 1);
    if (old_home)
        setenv("HOME", home, 1);
    done(&context);
}

/* Loading is refused with that text and one line, and the context goes on. */
static void assert_load(dj_context *context, const char *folder, dj_result want, const char *text)
{
    line_count = 0;
    HARNESS_RESULT(dj_cache_file_load(context, folder), want);
    assert_int_equal(line_count, 1);
    if (!strstr(lines[0], text))
        fail_msg("'%s' is not in: %s", text, lines[0]);
}

static void what_others_may_write_is_refused(void **state)
{
    (void)state;
    dj_context *context = context_on(0, NULL, 0);
    const char *const file = saved(context, base);
    static const mode_t modes[] = {0620, 0602, 0666};
    for (int i = 0; i < 3; i++) {
        chmod(file, modes[i]);
        assert_load(context, base, DJ_ERROR_FILE, "others may write");
    }
    chmod(file, 0644); /* others may read */
    HARNESS_OK(dj_cache_file_load(context, base));
    static const mode_t folder_modes[] = {0770, 0707, 01777};
    for (int i = 0; i < 3; i++) {
        chmod(base, folder_modes[i]);
        assert_load(context, base, DJ_ERROR_FILE, "others may write");
        HARNESS_RESULT(dj_cache_file_save(context, base), DJ_ERROR_FILE);
    }
    chmod(base, 0755);
    HARNESS_OK(dj_cache_file_load(context, base));
    done(&context);
}

static void what_others_own_is_refused(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("# only root can give files away: not tested\n");
        return;
    }
    dj_context *context = context_on(0, NULL, 0);
    const char *file = saved(context, base);
    assert_int_equal(chown(file, OTHER_USER, OTHER_USER), 0);
    assert_load(context, base, DJ_ERROR_FILE, "belongs to user 65534");
    file = saved(context, base); /* replaced by the user's own */
    HARNESS_OK(dj_cache_file_load(context, base));
    assert_int_equal(chown(base, OTHER_USER, OTHER_USER), 0);
    assert_load(context, base, DJ_ERROR_FILE, "belongs to user 65534");
    HARNESS_RESULT(dj_cache_file_save(context, base), DJ_ERROR_FILE);
    assert_int_equal(chown(base, 0, 0), 0);
    done(&context);
}

static void links_are_not_followed(void **state)
{
    (void)state;
    char target[512], file[1024];
    dj_context *context = context_on(0, NULL, 0);
    assert_int_equal(mkdir(in_base("real"), 0700), 0);
    snprintf(file, sizeof file, "%s", saved(context, in_base("real")));
    assert_int_equal(symlink("real", in_base("link")), 0);
    assert_load(context, in_base("link"), DJ_ERROR_FILE, "is a symbolic link");
    assert_load(context, in_base("link/"), DJ_ERROR_FILE, "is a symbolic link");
    HARNESS_RESULT(dj_cache_file_save(context, in_base("link")), DJ_ERROR_FILE);

    snprintf(target, sizeof target, "%s", in_base("target"));
    assert_int_equal(rename(file, target), 0);
    assert_int_equal(symlink(target, file), 0);
    assert_load(context, in_base("real"), DJ_ERROR_FILE, "opening");
    HARNESS_OK(dj_cache_file_save(context, in_base("real"))); /* the link goes, its target stays */
    assert_true(S_ISREG(mode_of(only_entry(in_base("real")))));
    assert_true(S_ISREG(mode_of(target)));
    done(&context);
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    char file[1024];
    dj_context *context = context_on(0, NULL, 0);
    snprintf(file, sizeof file, "%s", saved(context, base));
    assert_int_equal(unlink(file), 0);
    assert_int_equal(mkfifo(file, 0600), 0);
    assert_load(context, base, DJ_ERROR_FILE, "not a regular file"); /* and does not wait */
    assert_int_equal(unlink(file), 0);
    assert_int_equal(mkdir(file, 0700), 0);
    assert_load(context, base, DJ_ERROR_FILE, "not a regular file");
    HARNESS_RESULT(dj_cache_file_save(context, base), DJ_ERROR_FILE);
    only_entry(base); /* nothing half-written is left */
    assert_int_equal(rmdir(file), 0);

    const int fd = open(file, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_load(context, base, DJ_ERROR_FILE, "0 bytes");
    assert_int_equal(write(fd, "anything", 8), 8);
    assert_load(context, base, DJ_ERROR_CACHE, "no header");
    assert_int_equal(ftruncate(fd, ((off_t)1 << 30) + 1), 0);
    assert_load(context, base, DJ_ERROR_FILE, "must be 1 to 2^30");
    close(fd);
    assert_load(context, file, DJ_ERROR_FILE, "opening"); /* a file for a folder */
    HARNESS_RESULT(dj_cache_file_save(context, in_base("no/such")), DJ_ERROR_FILE);
    HARNESS_OK(dj_cache_file_load(context, in_base("no/such")));
    done(&context);
}

/* Something named as a file that is being saved, or nearly so. */
struct leftover {
    const char *before, *after; /* of the cache file's own name */
    mode_t type;
    bool old, goes;
};

static const char *leftover_path(const char *file, const struct leftover *of)
{
    static char path[1024];
    const char *const name = strrchr(file, '/') + 1;
    snprintf(path, sizeof path, "%s/%s%s%s", base, of->before, name, of->after);
    return path;
}

static void leftover_make(const char *path, const struct leftover *of)
{
    const time_t now = time(NULL);
    const struct timespec then[2] = {{.tv_sec = now - (of->old ? 3700 : 3500)},
                                     {.tv_sec = now - (of->old ? 3700 : 3500)}};
    if (of->type == S_IFDIR)
        assert_int_equal(mkdir(path, 0700), 0);
    else if (of->type == S_IFLNK)
        assert_int_equal(symlink("nowhere", path), 0);
    else
        close(open(path, O_WRONLY | O_CREAT, 0600));
    assert_int_equal(utimensat(AT_FDCWD, path, then, AT_SYMLINK_NOFOLLOW), 0);
}

static void what_a_crash_left_goes(void **state)
{
    (void)state;
    static const struct leftover leftovers[] = {
        {".", ".1f3.0", S_IFREG, true, true},
        {".", ".ffffffff.10", S_IFREG, true, true},
        {".", ".1f4.0", S_IFREG, false, false}, /* it may still be written */
        {".", ".1f5.0", S_IFDIR, true, false},
        {".", ".1f6.0", S_IFLNK, true, false},
        {"", ".1f3.0", S_IFREG, true, false},
        {".", "", S_IFREG, true, false},
        {".", ".1f3", S_IFREG, true, false},
        {".", ".1f3.", S_IFREG, true, false},
        {".", "..0", S_IFREG, true, false},
        {".", ".1f3.0.save", S_IFREG, true, false},
        {".", ".mine.0", S_IFREG, true, false},
        {".another", ".1f3.0", S_IFREG, true, false}, /* of another device */
    };
    enum {
        COUNT = sizeof leftovers / sizeof *leftovers
    };
    char file[1024];
    dj_context *context = context_on(0, NULL, 0);
    snprintf(file, sizeof file, "%s", saved(context, base));
    for (int i = 0; i < COUNT; i++)
        leftover_make(leftover_path(file, &leftovers[i]), &leftovers[i]);
    const struct leftover foreign = {".", ".1f7.0", S_IFREG, true, false};
    leftover_make(leftover_path(file, &foreign), &foreign);
    const bool root = geteuid() == 0; /* who alone can give files away */
    if (root)
        assert_int_equal(chown(leftover_path(file, &foreign), OTHER_USER, OTHER_USER), 0);
    HARNESS_OK(dj_cache_file_save(context, base));
    struct stat status;
    for (int i = 0; i < COUNT; i++) {
        const char *const path = leftover_path(file, &leftovers[i]);
        if ((lstat(path, &status) == 0) == leftovers[i].goes)
            fail_msg("%s should %s", path, leftovers[i].goes ? "go" : "stay");
    }
    assert_int_equal(lstat(leftover_path(file, &foreign), &status) == 0, root);
    HARNESS_OK(dj_cache_file_load(context, base));
    done(&context);
}

#define FILE_TEST(function) cmocka_unit_test_setup_teardown(function, base_setup, base_teardown)

static const struct CMUnitTest tests[] = {
    FILE_TEST(a_file_saves_compiling_and_trials), FILE_TEST(a_file_is_replaced_as_a_whole),
    FILE_TEST(the_environment_names_the_folder),  FILE_TEST(what_others_may_write_is_refused),
    FILE_TEST(what_others_own_is_refused),        FILE_TEST(links_are_not_followed),
    FILE_TEST(what_is_no_file_is_refused),        FILE_TEST(what_a_crash_left_goes),
};

HARNESS_MAIN(tests)

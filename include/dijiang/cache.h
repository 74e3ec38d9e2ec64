/* SPDX-License-Identifier: MIT */
/* What a context has compiled, kept for the next process.
 *
 * A cache is a block of bytes: the driver's pipeline cache, the DCT kernels of the context's
 * plans with the outcome of their trial on its device, and what dj_attention_tune chose. A context
 * that has it makes the same plans again without generating or trying a kernel, and, as far as the
 * driver keeps its word, without compiling one. It is for one device, one driver and one version of
 * dijiang: anything else, and anything damaged, is refused and costs no more than the time it would
 * have saved.
 *
 * Its hash finds damage, not malice: a driver believes what stands in its pipeline cache. Take a
 * cache from where only those may write who may also write your program's code. */
#ifndef DIJIANG_CACHE_H
#define DIJIANG_CACHE_H

#include <dijiang/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Writes the context's cache, but for a pipeline cache of the caller's (dj_context_import): all
 * that it was given itself (struct dj_context_params) and all that its plans, living or destroyed,
 * have added.
 *
 * data: at least *size bytes, of any alignment; NULL asks for the size alone. *size: on return the
 * bytes written, or needed.
 *
 * Plans that other threads make between two calls may make the cache grow: then the second returns
 * DJ_ERROR_LIMIT with the size needed in *size, having written nothing to data; ask again.
 * It may also be smaller than was asked for. A cache never shrinks otherwise: one that has not
 * grown need not be saved again.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (context or size is NULL); DJ_ERROR_LIMIT;
 * DJ_ERROR_OUT_OF_HOST_MEMORY; DJ_ERROR_OUT_OF_DEVICE_MEMORY; DJ_ERROR_VULKAN. Thread-safe,
 * also while plans are made. */
DJ_API dj_result dj_cache_save(dj_context *context, void *data, uint64_t *size);

/* Whether a cache would be taken by this context, or one of the same device: size bytes of any
 * origin. Returns DJ_SUCCESS; DJ_ERROR_CACHE (it is truncated or damaged, or of another device,
 * driver or version: the log says which); DJ_ERROR_INVALID_ARGUMENT (context or data is NULL);
 * DJ_ERROR_OUT_OF_HOST_MEMORY (it may be a good one). Thread-safe. */
DJ_API dj_result dj_cache_check(dj_context *context, const void *data, uint64_t size);

/* Reads the cache of this context's device and driver from its file and adds it to the context, as
 * struct dj_context_params does. To be called when no other thread uses the context yet.
 *
 * folder: where the files are, one for each device, driver and version of the library. NULL: $XDG_CACHE_HOME/dijiang, or
 * ~/.cache/dijiang if that is not set to an absolute path. Where there is no such thing, as on
 * Android, give one of the program's own, such as "<cache folder>/dijiang".
 *
 * The folder and the file must be the user's own (the effective user's) and writable by nobody
 * else, the file a regular one of at most 1 GiB, and neither a symbolic link.
 *
 * Returns DJ_SUCCESS, also if there is no such file or folder yet; DJ_ERROR_FILE (it breaks a rule
 * above, cannot be read, or there is no folder to take by default); DJ_ERROR_CACHE (as
 * dj_cache_check, or the driver does not take it); DJ_ERROR_INVALID_ARGUMENT (context is NULL);
 * DJ_ERROR_OUT_OF_HOST_MEMORY. After any of them the context can be used as before. */
DJ_API dj_result dj_cache_file_load(dj_context *context, const char *folder);

/* Writes the context's cache to the file that dj_cache_file_load reads; folder as there. The folder
 * is made if it is missing, for the user alone (and so is ~/.cache, or what XDG_CACHE_HOME names);
 * its parent must be there. The file is replaced as a whole, once its contents are on the disk: a
 * reader finds the old one or the new one, also after a crash. Of two processes that save, the
 * later one's is kept. What a crash left of a file half written goes with the next save an hour
 * later.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_FILE (the folder breaks a rule, or something cannot be written; what
 * was there is left); and what dj_cache_save does. Thread-safe. */
DJ_API dj_result dj_cache_file_save(dj_context *context, const char *folder);

#ifdef __cplusplus
}
#endif

#endif

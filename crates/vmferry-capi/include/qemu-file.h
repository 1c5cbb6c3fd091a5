/*
 * The functions of libvmferry_capi: QEMU's byte stream under QEMU's own names, over vmferry's.
 *
 * A proof, not a product. What each function does where it differs from the original is in
 * docs/stream.md, and in the documentation of the crate vmferry-capi.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VMFERRY_CAPI_QEMU_FILE_H
#define VMFERRY_CAPI_QEMU_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct QEMUFile QEMUFile;
typedef uint64_t ram_addr_t;

/*
 * What moves a file's bytes. A file with writev_buffer is written, one with get_buffer alone is read,
 * one with neither is built in memory, to be put into another. The table is copied when the file is
 * opened. -EAGAIN means "not now": the file tries again.
 */
typedef struct QEMUFileOps {
    /* Up to size bytes: how many came, 0 at the end, or a negative error number. */
    ssize_t (*get_buffer)(void *opaque, uint8_t *buf, int64_t pos, size_t size);
    int (*close)(void *opaque);
    int (*set_blocking)(void *opaque, bool enabled);
    /* A prefix of at most 64 pieces: how many bytes were taken, or a negative error number. */
    ssize_t (*writev_buffer)(void *opaque, struct iovec *iov, int iovcnt, int64_t pos);
    QEMUFile *(*get_return_path)(void *opaque);
    /* Ends blocked calls, from another thread. */
    int (*shut_down)(void *opaque, bool rd, bool wr);
} QEMUFileOps;

/* A transport that moves pages by itself. A hook may use the file, but not close it. */
typedef struct QEMUFileHooks {
    int (*before_ram_iterate)(QEMUFile *f, void *opaque, uint64_t flags, void *data);
    int (*after_ram_iterate)(QEMUFile *f, void *opaque, uint64_t flags, void *data);
    int (*hook_ram_load)(QEMUFile *f, void *opaque, uint64_t flags, void *data);
    size_t (*save_page)(QEMUFile *f, void *opaque, ram_addr_t block_offset, ram_addr_t offset,
                        size_t size, uint64_t *bytes_sent);
} QEMUFileHooks;

/* The flags of a hook. */
enum {
    RAM_CONTROL_SETUP = 0,
    RAM_CONTROL_ROUND = 1,
    RAM_CONTROL_HOOK = 2,
    RAM_CONTROL_FINISH = 3,
    RAM_CONTROL_BLOCK_REG = 4,
};

/* The answers of save_page that are no errors. */
#define RAM_SAVE_CONTROL_NOT_SUPP (-1000)
#define RAM_SAVE_CONTROL_DELAYED  (-2000)

/* ---- a file's life ---- */

QEMUFile *qemu_fopen_ops(void *opaque, const QEMUFileOps *ops);
/* The first error, or what close answers. -EBUSY, and nothing is closed, from a callback or hook. */
int qemu_fclose(QEMUFile *f);
void qemu_fflush(QEMUFile *f);
/* From any thread. 0, or a negative error number of shut_down; -ENOSYS: there is none. */
int qemu_file_shutdown(QEMUFile *f);
QEMUFile *qemu_file_get_return_path(QEMUFile *f);
void qemu_file_set_blocking(QEMUFile *f, bool block);
bool qemu_file_is_writable(QEMUFile *f);
bool qemu_file_mode_is_not_valid(const char *mode);

/* ---- errors: the first one stays, and after it nothing is sent or read ---- */

int qemu_file_get_error(QEMUFile *f);
void qemu_file_set_error(QEMUFile *f, int ret);

/* ---- positions and limits ---- */

/* Sends what waits; a reader's position is what was taken. */
int64_t qemu_ftell(QEMUFile *f);
int64_t qemu_ftell_fast(QEMUFile *f);
void qemu_update_position(QEMUFile *f, size_t size);
int qemu_file_rate_limit(QEMUFile *f);
/* These two from any thread. */
int64_t qemu_file_get_rate_limit(QEMUFile *f);
void qemu_file_set_rate_limit(QEMUFile *f, int64_t limit);
void qemu_file_reset_rate_limit(QEMUFile *f);

/* ---- writing ---- */

void qemu_put_byte(QEMUFile *f, int v);
void qemu_put_be16(QEMUFile *f, unsigned int v);
void qemu_put_be32(QEMUFile *f, unsigned int v);
void qemu_put_be64(QEMUFile *f, uint64_t v);
void qemu_put_buffer(QEMUFile *f, const uint8_t *buf, size_t size);
/* The memory stays until it is sent; then its whole pages are given back if it may be freed. */
void qemu_put_buffer_async(QEMUFile *f, const uint8_t *buf, size_t size, bool may_free);
/* Bytes that were put; -1, and none was, if there are too many or the file has failed. */
ssize_t qemu_put_compression_data(QEMUFile *f, const uint8_t *p, size_t size, int level);
/* f_src has no callbacks, or nothing is moved and f_des fails. */
int qemu_put_qemu_file(QEMUFile *f_des, QEMUFile *f_src);

/* ---- reading: a number is whole or 0; a shorter answer than asked for has an error ---- */

int qemu_get_byte(QEMUFile *f);
unsigned int qemu_get_be16(QEMUFile *f);
unsigned int qemu_get_be32(QEMUFile *f);
uint64_t qemu_get_be64(QEMUFile *f);
size_t qemu_get_buffer(QEMUFile *f, uint8_t *buf, size_t size);
/* What *buf points to then stays until the next call, and is not to be changed. */
size_t qemu_get_buffer_in_place(QEMUFile *f, uint8_t **buf, size_t size);
/* At most 32768 bytes ahead. As above. */
size_t qemu_peek_buffer(QEMUFile *f, uint8_t **buf, size_t size, size_t offset);
int qemu_peek_byte(QEMUFile *f, int offset);
void qemu_file_skip(QEMUFile *f, int size);
size_t qemu_get_counted_string(QEMUFile *f, char buf[256]);

/* ---- pages that go another way ---- */

void qemu_file_set_hooks(QEMUFile *f, const QEMUFileHooks *hooks);
void ram_control_before_iterate(QEMUFile *f, uint64_t flags);
void ram_control_after_iterate(QEMUFile *f, uint64_t flags);
void ram_control_load_hook(QEMUFile *f, uint64_t flags, void *data);
size_t ram_control_save_page(QEMUFile *f, ram_addr_t block_offset, ram_addr_t offset, size_t size,
                             uint64_t *bytes_sent);

#ifdef __cplusplus
}
#endif

#endif

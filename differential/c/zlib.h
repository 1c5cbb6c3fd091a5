/*
 * What the original needs of zlib, and no more.
 *
 * compress2 is a function of this package that compresses as vmferry does: two versions of zlib make different,
 * equally valid bytes of the same block, and the subject here is the stream around them.
 */
#ifndef DIFFERENTIAL_ZLIB_H
#define DIFFERENTIAL_ZLIB_H
typedef unsigned char Bytef;
typedef unsigned long uLong;
typedef unsigned long uLongf;
#define Z_OK 0
#define compress2 differential_compress2
#define compressBound differential_compress_bound
int compress2(Bytef *out, uLongf *out_len, const Bytef *in, uLong in_len, int level);
uLong compressBound(uLong in_len);
#endif

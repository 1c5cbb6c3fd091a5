/*
 * Appended to the text of the original: what the rules have to know of its inside, to tell where a defect of it
 * shows. It changes nothing.
 */
void INSIDE(QEMUFile *f, struct inside *out)
{
    out->index = f->buf_index;
    out->size = f->buf_size;
    out->segments = f->iovcnt;
    out->adjacent = f->iovcnt > 0 &&
        (uint8_t *)f->iov[f->iovcnt - 1].iov_base + f->iov[f->iovcnt - 1].iov_len == f->buf + f->buf_index;
}

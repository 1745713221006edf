/* Certificates that openssl makes for a run. */
#ifndef HOLDFAST_HARNESS_CERTIFICATE_H
#define HOLDFAST_HARNESS_CERTIFICATE_H

/* Writes a key of mode 600 and a certificate of it, signed by itself, for 127.0.0.1 and the common
   name `name`, into the two files. Fails if that is not possible. */
void test_certificate(const char *name, const char *key, const char *certificate);

#endif

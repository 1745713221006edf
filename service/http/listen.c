#include "http/listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <h2o.h>
#include <openssl/err.h>

#include "config/file.h"

#define BACKLOG 4096
/* For a connection; the kernel allocates twice as much. One turn of a loop serves all requests that
   it finds in the buffers, so these must not have the work of a whole second; and a client that
   never reads occupies no more than this. A body is far smaller. */
#define RECEIVE_BUFFER_BYTES (32 * 1024)
#define SEND_BUFFER_BYTES (128 * 1024)

static int bind_socket(const config_address_t *address, bool share)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    char port[8];
    int fd = -1, on = 1, receive = RECEIVE_BUFFER_BYTES, send = SEND_BUFFER_BYTES;
    snprintf(port, sizeof(port), "%u", address->port);
    int error = getaddrinfo(address->host, port, &hints, &found);
    if (error != 0) {
        fprintf(stderr, "holdfast: cannot listen on %s:%u: %s\n", address->host, address->port,
                gai_strerror(error));
        return -1;
    }
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
              (!share || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0) &&
              setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof(receive)) == 0 &&
              setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send, sizeof(send)) == 0 &&
              bind(fd, found->ai_addr, found->ai_addrlen) == 0;
    if (!ok)
        fprintf(stderr, "holdfast: cannot listen on %s:%u: %s\n", address->host, address->port,
                strerror(errno));
    freeaddrinfo(found);
    if (!ok && fd >= 0)
        close(fd);
    return ok ? fd : -1;
}

bool listen_check_free(const config_address_t *address)
{
    int fd = bind_socket(address, false);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

int listen_open(const config_address_t *address)
{
    int fd = bind_socket(address, true);
    if (fd >= 0 && listen(fd, BACKLOG) != 0) {
        fprintf(stderr, "holdfast: cannot listen on %s:%u: %s\n", address->host, address->port,
                strerror(errno));
        close(fd);
        return -1;
    }
    return fd;
}

/* Refuses keys with a passphrase; OpenSSL would ask for it at the terminal. */
static int no_passphrase(char *buffer, int size, int writing, void *unused)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)unused;
    return -1;
}

/* Repeats the checks of the start, so that a key that other users can read is refused later,
   too. */
static bool check_files(const config_tls_t *files, char reason[LISTEN_REASON_SIZE])
{
    char why[REASON_SIZE];
    const char *path = files->certificate_file;
    bool good = file_check_pem(path, false, why);
    if (good) {
        path = files->key_file;
        good = file_check_pem(path, true, why);
    }
    if (!good)
        snprintf(reason, LISTEN_REASON_SIZE, "%.300s %s", path, why);
    return good;
}

SSL_CTX *listen_tls(const config_tls_t *files, bool http2, char reason[LISTEN_REASON_SIZE])
{
    /* In order of preference. */
    static const h2o_iovec_t both[] = {{H2O_STRLIT("h2")}, {H2O_STRLIT("http/1.1")}, {NULL, 0}};
    const h2o_iovec_t *http1_only = both + 1;
    if (!check_files(files, reason))
        return NULL;
    ERR_clear_error();
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (tls != NULL)
        SSL_CTX_set_default_passwd_cb(tls, no_passphrase);
    if (tls == NULL || SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1 ||
        SSL_CTX_use_certificate_chain_file(tls, files->certificate_file) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, files->key_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(tls) != 1) {
        ERR_error_string_n(ERR_get_error(), reason, LISTEN_REASON_SIZE);
        ERR_clear_error();
        SSL_CTX_free(tls);
        return NULL;
    }
    h2o_ssl_register_alpn_protocols(tls, http2 ? both : http1_only);
    return tls;
}

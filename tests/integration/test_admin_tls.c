/*
 * TLS of the admin listener, with a certificate of its own beside that of the public one: which is
 * shown where, and both are renewed by SIGHUP, each by itself. On a stack of its own.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>

#include "harness/certificate.h"
#include "harness/sale.h"
#include "harness/suite.h"

static struct {
    char *key, *certificate;
} public_files, admin_files;

static char *path_of(const char *name)
{
    return strdup(test_text("%s/admin-tls-%d-%s.pem", test_environment("HOLDFAST_TEST_TMP"),
                            (int)getpid(), name));
}

static test_stack_t *start_with_tls(void)
{
    public_files.key = path_of("public-key");
    public_files.certificate = path_of("public");
    admin_files.key = path_of("admin-key");
    admin_files.certificate = path_of("admin");
    test_certificate("public", public_files.key, public_files.certificate);
    test_certificate("admin", admin_files.key, admin_files.certificate);
    return STACK_START("admin-tls", "http.http2=true",
                       test_text("http.tls_certificate_file=%s", public_files.certificate),
                       test_text("http.tls_key_file=%s", public_files.key),
                       test_text("admin.tls_certificate_file=%s", admin_files.certificate),
                       test_text("admin.tls_key_file=%s", admin_files.key));
}

/* The name in the certificate that the listener shows; "" if there is no handshake. */
static const char *shown_by(const char *base)
{
    char name[100] = "";
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    int fd = web_connect(base);
    EXPECT(fd >= 0 && context != NULL, "no connection to %s", base);
    SSL *tls = SSL_new(context);
    SSL_set_fd(tls, fd);
    X509 *shown = SSL_connect(tls) == 1 ? SSL_get1_peer_certificate(tls) : NULL;
    if (shown != NULL)
        X509_NAME_get_text_by_NID(X509_get_subject_name(shown), NID_commonName, name, sizeof(name));
    X509_free(shown);
    ERR_clear_error();
    SSL_free(tls);
    SSL_CTX_free(context);
    close(fd);
    return test_text("%s", name);
}

/* Each loop has its own: so several in a row. */
static bool all_show(const char *base, const char *name)
{
    for (unsigned i = 0; i < 16; ++i)
        if (strcmp(shown_by(base), name) != 0)
            return false;
    return true;
}

static void hangup(void)
{
    process_signal(stack->pid, SIGHUP);
}

static void each_listener_shows_its_own(void **state)
{
    (void)state;
    EXPECT(all_show(stack->url, "public"), "%s", shown_by(stack->url));
    EXPECT(all_show(stack->admin_url, "admin"), "%s", shown_by(stack->admin_url));
    web_answer_t status = ADMIN(stack, .path = "/v1/status");
    EXPECT_STATUS(status, 200);
    web_answer_t none = WEB(.base = stack->admin_url, .path = "/v1/status");
    EXPECT_PROBLEM(none, 401, "unauthorized");
    const char *sku = sale_item(stack, "tls", "\"total\":5,\"strategy\":\"lua\"");
    sale_order(stack, sku, "b", 1, NULL);
}

static void no_tls_is_no_answer(void **state)
{
    (void)state;
    const char *plain = test_text("GET /v1/status HTTP/1.1\r\nHost: h\r\n"
                                  "Authorization: Bearer %s\r\n\r\n",
                                  stack->token);
    web_answer_t answer = web_raw(stack->admin_url, plain, strlen(plain), 5000);
    EXPECT(answer.status == 0 && !answer.refused, "%s", web_show(&answer));
}

static void each_listener_gets_its_new_certificate(void **state)
{
    (void)state;
    test_certificate("admin-2", admin_files.key, admin_files.certificate);
    hangup();
    WAIT_UNTIL(all_show(stack->admin_url, "admin-2"));
    EXPECT(all_show(stack->url, "public"), "%s", shown_by(stack->url));
    test_certificate("public-2", public_files.key, public_files.certificate);
    hangup();
    WAIT_UNTIL(all_show(stack->url, "public-2"));
    EXPECT(all_show(stack->admin_url, "admin-2"), "%s", shown_by(stack->admin_url));
}

static void a_bad_one_of_one_listener_keeps_the_old_one(void **state)
{
    (void)state;
    test_certificate("admin-3", admin_files.key, admin_files.certificate);
    EXPECT(unlink(admin_files.key) == 0, "no key");
    test_certificate("public-3", public_files.key, public_files.certificate);
    hangup();
    WAIT_UNTIL(all_show(stack->url, "public-3"));
    WAIT_UNTIL(stack_log_has(stack, "the new certificate cannot be used"));
    EXPECT(all_show(stack->admin_url, "admin-2"), "%s", shown_by(stack->admin_url));
    test_certificate("admin-4", admin_files.key, admin_files.certificate);
    hangup();
    WAIT_UNTIL(all_show(stack->admin_url, "admin-4"));
}

static const suite_t suite = {.name = "admin-tls", .start = start_with_tls};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_listener_shows_its_own),
        TEST(no_tls_is_no_answer),
        TEST(each_listener_gets_its_new_certificate),
        TEST(a_bad_one_of_one_listener_keeps_the_old_one),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}

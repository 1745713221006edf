/* Heads of HTTP/1: which leave nothing open, and what is said of the others. */
#include "harness/test.h"
#include "http/framing.h"

#define GET "GET /healthz HTTP/1.1\r\n"
#define GET_1_0 "GET /healthz HTTP/1.0\r\n"
#define HOST "Host: h\r\n"

static const char *read_copy(const char *head, framing_t *out)
{
    size_t n = strlen(head);
    return framing_read((str_t){test_exact(head, n), n}, out);
}

static void is_taken(const char *head)
{
    framing_t framing;
    const char *fault = read_copy(head, &framing);
    EXPECT(fault == NULL, "refused (%s): %s", fault, head);
}

/* `says`: part of what is said. */
static void is_refused(const char *head, const char *says)
{
    framing_t framing;
    const char *fault = read_copy(head, &framing);
    EXPECT(fault != NULL && strstr(fault, says) != NULL, "expected \"%s\", got \"%s\": %s", says,
           fault == NULL ? "" : fault, head);
}

static void test_plain_heads(void **state)
{
    (void)state;
    static const char *const heads[] = {
        GET HOST "\r\n",
        "\r\n" GET HOST "\r\n",
        GET HOST "\r\nwhat follows is\nnot looked at",
        GET_1_0 "\r\n",
        GET_1_0 "Host: h\r\nContent-Length: 5\r\n\r\n",
        GET "hOST:h:80\r\n\r\n",
        GET "Host: \t h \t \r\n\r\n",
        GET "Host: [::1]:8080\r\n\r\n",
        GET "Host: [v1.a:b]\r\n\r\n",
        GET "Host: a_b.example:\r\n\r\n",
        GET "Host:\r\n\r\n",
        GET HOST "X-Empty:\r\nX-Tab: a\tb\r\nX-High: \xff\xc3\xa4\r\n\r\n",
        GET HOST "Content-Length: 0\r\n\r\n",
        GET HOST "Content-Length:  0017\t\r\n\r\n",
        GET HOST "Transfer-Encoding: chunked\r\n\r\n",
        GET HOST "transfer-encoding:CHUNKED\r\n\r\n",
        /* Names that only look like one of them. */
        GET HOST "Hosts: a b\r\nHost-Name: a b\r\nContent-Lengths: x\r\nTE: trailers\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        "CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.9\r\nHost: h\r\n\r\n",
        "GET httpx://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
    };
    for (size_t i = 0; i < TEST_COUNT(heads); ++i)
        is_taken(heads[i]);
}

static void test_line_ends(void **state)
{
    (void)state;
    static const char *const heads[] = {
        "",
        "\n",
        "\r\n",
        "GET / HTTP/1.1\nHost: h\r\n\r\n",
        GET "Host: h\n\r\n",
        GET HOST "X: y\nHost: i\r\n\r\n",
        GET HOST "\n",
        GET HOST "X: y\r\n\n",
        "\n" GET HOST "\r\n",
        GET HOST,
        GET HOST "X: y",
    };
    for (size_t i = 0; i < TEST_COUNT(heads); ++i)
        is_refused(heads[i], "CR LF");
}

static void test_first_lines(void **state)
{
    (void)state;
    static const char *const lines[] = {"\r\n",
                                        "GET\r\n",
                                        "GET /\r\n",
                                        "GET HTTP/1.1\r\n",
                                        " / HTTP/1.1\r\n",
                                        "GET / HTTP/2.0\r\n",
                                        "GET / HTTP/1.10\r\n",
                                        "HTTP/1.1\r\n"};
    char head[128];
    for (size_t i = 0; i < TEST_COUNT(lines); ++i) {
        snprintf(head, sizeof(head), "\r\n%sHost: h\r\n\r\n", lines[i]);
        is_refused(head, "first line");
    }
}

static void test_folded_headers(void **state)
{
    (void)state;
    is_refused(GET HOST "X: a\r\n b\r\n\r\n", "next line");
    is_refused(GET HOST "X: a\r\n\tb\r\n\r\n", "next line");
    is_refused(GET HOST "X: a\r\n Content-Length: 5\r\n\r\n", "next line");
    is_refused(GET " Host: h\r\n\r\n", "next line");
    is_refused(GET HOST " \r\n\r\n", "next line");
}

static void test_hosts(void **state)
{
    (void)state;
    static const char *const values[] = {"a b",     "a,b c",    "u@h",  "h/",   "h?q",   "h#f",
                                         "h:x",     "h:80:",    ":80",  "[::1", "[]",    "[::1]x",
                                         "[::1]:x", "\xc3\xa4", "h\\i", "<h>",  "\"h\"", "h:-1"};
    char head[128];
    is_refused(GET "\r\n", "Host");
    is_refused(GET "Content-Length: 5\r\n\r\n", "Host");
    is_refused(GET HOST HOST "\r\n", "Host");
    is_refused(GET HOST "hosT:\r\n\r\n", "Host");
    is_refused(GET_1_0 HOST HOST "\r\n", "Host");
    is_refused("GET http://h/ HTTP/1.1\r\n\r\n", "Host");
    for (size_t i = 0; i < TEST_COUNT(values); ++i) {
        snprintf(head, sizeof(head), "%sHost: %s\r\n\r\n", i % 2 == 0 ? GET : GET_1_0, values[i]);
        is_refused(head, "Host");
    }
}

static void test_lengths(void **state)
{
    (void)state;
    static const char *const values[] = {"",     "+5",  "-5",  "5, 5",  "5 5", "0x5", "5;",
                                         "five", "5.0", "1e1", "\"5\"", "5,",  "5_0", "\xd9\xa5"};
    char head[128];
    is_refused(GET HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "Content-Length");
    is_refused(GET HOST "Content-Length: 5\r\nX: y\r\ncontent-length: 5\r\n\r\n", "Content-Length");
    is_refused(GET_1_0 "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", "Content-Length");
    for (size_t i = 0; i < TEST_COUNT(values); ++i) {
        snprintf(head, sizeof(head), "%sHost: h\r\nContent-Length: %s\r\n\r\n", GET, values[i]);
        is_refused(head, "Content-Length");
    }
}

static void test_encodings(void **state)
{
    (void)state;
    static const char *const values[] = {"",
                                         "identity",
                                         "xchunked",
                                         "chunkedx",
                                         "chunked, chunked",
                                         "chunked,",
                                         "gzip",
                                         "gzip, chunked",
                                         "chunked, identity",
                                         "chunked;q=1",
                                         "\"chunked\"",
                                         "chunke",
                                         "chunked\x0b"};
    char head[128];
    for (size_t i = 0; i < TEST_COUNT(values); ++i) {
        snprintf(head, sizeof(head), "%sHost: h\r\nTransfer-Encoding: %s\r\n\r\n", GET, values[i]);
        is_refused(head, "Transfer-Encoding");
    }
    is_refused(GET HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
               "Transfer-Encoding");
    is_refused(GET HOST "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n",
               "Transfer-Encoding");
    is_refused(GET HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "either");
    is_refused(GET HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", "either");
    is_refused(GET_1_0 HOST "Transfer-Encoding: chunked\r\n\r\n", "HTTP/1.0");
}

static void test_absolute_targets(void **state)
{
    (void)state;
    static const struct {
        const char *target, *authority, *path;
    } good[] = {
        {"http://h/a/b?c", "h", "/a/b?c"},
        {"HTTPS://h:443/", "h:443", "/"},
        {"http://h", "h", ""},
        {"http://h?q=/", "h", "?q=/"},
        {"http://[::1]:1/x", "[::1]:1", "/x"},
    };
    static const char *const bad[] = {"http://",     "http:///a",   "http://u@h/", "http://u:p@h/",
                                      "http://:80/", "http://h:x/", "https://?q",  "http://h#f/"};
    char head[128];
    framing_t framing;
    for (size_t i = 0; i < TEST_COUNT(good); ++i) {
        snprintf(head, sizeof(head), "GET %s HTTP/1.1\r\nHost: other\r\n\r\n", good[i].target);
        assert_null(read_copy(head, &framing));
        assert_true(str_eq(framing.authority, str_of(good[i].authority)));
        assert_true(str_eq(framing.path, str_of(good[i].path)));
    }
    for (size_t i = 0; i < TEST_COUNT(bad); ++i) {
        snprintf(head, sizeof(head), "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", bad[i]);
        is_refused(head, "target");
    }
}

static void test_what_is_found(void **state)
{
    (void)state;
    framing_t framing;
    assert_null(framing_read(STR(GET HOST "\r\n"), &framing));
    assert_false(framing.chunked);
    assert_null(framing.authority.p);
    assert_null(framing.path.p);
    assert_null(framing_read(STR(GET HOST "Transfer-Encoding: chunked\r\n\r\n"), &framing));
    assert_true(framing.chunked);
    assert_null(framing_read(
        STR("PUT http://h/a HTTP/1.1\r\nHost: h\r\nContent-Length: 17\r\n\r\n"), &framing));
    assert_true(str_eq(framing.method, STR("PUT")));
    assert_true(str_eq(framing.target, STR("http://h/a")));
    assert_true(str_eq(framing.headers, STR("Host: h\r\nContent-Length: 17\r\n")));
    assert_int_equal(framing.length, 17);
    assert_null(
        framing_read(STR(GET HOST "Content-Length: 99999999999999999999999999\r\n\r\n"), &framing));
    assert_true(framing.length == SIZE_MAX);
    /* NUL is a byte like others, and ends nothing. */
    assert_non_null(framing_read(STR(GET "Host: h\0i\r\n\r\n"), &framing));
    assert_non_null(framing_read(STR(GET HOST "Content-Length: 5\0\r\n\r\n"), &framing));
    assert_null(framing_read(STR(GET HOST "X: a\0b\r\n\r\n"), &framing));
}

static void test_expectations(void **state)
{
    (void)state;
    static const struct {
        str_t head;
        bool expects;
    } heads[] = {
        {STR(GET HOST "Expect: 100-continue\r\n\r\n"), true},
        {STR(GET HOST "eXPECT:100-Continue \r\n\r\n"), true},
        {STR(GET HOST "\r\n"), false},
        {STR(GET HOST "Expect: 100-continued\r\n\r\n"), false},
        {STR(GET HOST "Expect:\r\n\r\n"), false},
        {STR(GET HOST "Expects: 100-continue\r\n\r\n"), false},
        {STR(GET_1_0 HOST "Expect: 100-continue\r\n\r\n"), false},
    };
    framing_t framing;
    for (size_t i = 0; i < TEST_COUNT(heads); ++i) {
        assert_null(framing_read(heads[i].head, &framing));
        assert_int_equal(framing.expects_continue, heads[i].expects);
    }
}

static void test_headers_one_by_one(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
    } expected[] = {{"Host", "h"}, {"A", ""}, {"B", "c:d"}, {"E", "f g"}};
    framing_t framing;
    str_t name, value;
    size_t i = 0;
    assert_null(framing_read(STR(GET HOST "A:\r\nB: c:d\r\nE:\t f g \r\n\r\nX: y\r\n"), &framing));
    for (; framing_next_header(&framing.headers, &name, &value); ++i) {
        assert_true(i < TEST_COUNT(expected));
        assert_true(str_eq(name, str_of(expected[i].name)));
        assert_true(str_eq(value, str_of(expected[i].value)));
    }
    assert_int_equal(i, TEST_COUNT(expected));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_plain_heads),
        TEST(test_line_ends),
        TEST(test_first_lines),
        TEST(test_folded_headers),
        TEST(test_hosts),
        TEST(test_lengths),
        TEST(test_encodings),
        TEST(test_absolute_targets),
        TEST(test_what_is_found),
        TEST(test_expectations),
        TEST(test_headers_one_by_one),
    };
    return test_run("framing", tests, TEST_COUNT(tests), NULL, NULL);
}

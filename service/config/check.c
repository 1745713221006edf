#include "config/check.h"

#include <assert.h>
#include <strings.h>

#include "config/config.h"

/* --- relations between the settings of one section --- */

static bool is_given(const place_t *section, const char *key)
{
    return place_below(section, str_of(key))->line != 0;
}

static void check_given(place_t *place)
{
    const setting_t *setting = place->setting;
    if (setting->instead != NULL && is_given(place->above, setting->instead))
        report(place, "is given beside %s; give one of them", setting->instead);
    if (setting->needs != NULL && !is_given(place->above, setting->needs))
        report(place, "needs %s beside it; give both or neither", setting->needs);
    if (setting->not_beside != NULL && is_given(place->above, setting->not_beside))
        report(place, "means nothing beside %s; leave one out", setting->not_beside);
}

static void check_above(place_t *place)
{
    const char *key = place->setting->above;
    const place_t *lower = place_below(place->above, str_of(key));
    assert(place->setting->type == SETTING_NUMBER && lower->setting->type == SETTING_NUMBER);
    uint32_t value = *(uint32_t *)place->data, bound = *(uint32_t *)lower->data;
    if (place_is_known(place) && place_is_known(lower) && value <= bound)
        report(place, "%u is not above %s.%s, which is %u", value, place->above->section->name, key,
               bound);
}

static void check_setting(place_t *place)
{
    const setting_t *setting = place->setting;
    if (place->line != 0)
        check_given(place);
    else if (setting->required &&
             (setting->instead == NULL || !is_given(place->above, setting->instead)))
        report_value(place, "is missing");
    if (setting->above != NULL)
        check_above(place);
}

static void check_places(place_t *place)
{
    if (place->setting != NULL)
        check_setting(place);
    for (size_t i = 0; i < place->below_count && !place->wrong; ++i)
        check_places(&place->below[i]);
}

/* --- across sections --- */

static bool is_every_address(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

/* Reported here, because two listeners would share a port by SO_REUSEPORT without an error, and the
   kernel would distribute buyers to both. */
static void check_listeners(const place_t *root)
{
    const place_t *http_place = place_below(place_below(root, STR("http")), STR("listen"));
    place_t *admin_place = place_below(place_below(root, STR("admin")), STR("listen"));
    const config_address_t *http = http_place->data, *admin = admin_place->data;
    if (!place_is_known(http_place) || !place_is_known(admin_place))
        return;
    bool same_host = strcasecmp(http->host, admin->host) == 0 || is_every_address(http->host) ||
                     is_every_address(admin->host);
    if (http->port == admin->port && same_host)
        report(admin_place, "is the address of http.listen; give another port");
}

/* Without these files nobody could buy. */
static void check_auth(const place_t *root)
{
    const place_t *http = place_below(root, STR("http")), *admin = place_below(root, STR("admin"));
    place_t *place = place_below(http, STR("auth"));
    if (!place_is_known(place))
        return;
    auth_t auth = *(const auth_t *)place->data;
    if (auth == AUTH_TOKEN && !is_given(admin, "tokens_file"))
        report(place, "is token, which needs admin.tokens_file");
    if (auth == AUTH_BUYER && !is_given(http, "buyer_keys_file"))
        report(place, "is buyer, which needs http.buyer_keys_file");
}

/* "https://host", perhaps with a port: what browsers send, without a path and in lower case. */
static bool is_origin(const char *text, size_t n)
{
    static const char characters[] = "abcdefghijklmnopqrstuvwxyz0123456789.-:[]";
    size_t scheme = strncmp(text, "https://", 8) == 0  ? 8
                    : strncmp(text, "http://", 7) == 0 ? 7
                                                       : 0;
    return scheme != 0 && n > scheme && strspn(text + scheme, characters) >= n - scheme;
}

static void check_origins(const place_t *root)
{
    place_t *place = place_below(place_below(root, STR("http")), STR("cors_origins"));
    if (!place_is_known(place) || place->line == 0)
        return;
    const char *text = *(char **)place->data;
    while (strcmp(text, "*") != 0) {
        size_t n = strcspn(text, " ");
        if (!is_origin(text, n)) {
            report(place, "is neither * nor origins as https://shop.example, one space apart");
            return;
        }
        if (text[n] == '\0')
            return;
        text += n + 1;
        if (strcmp(text, "*") == 0) {
            report(place, "has * beside others; give * alone");
            return;
        }
    }
}

/* AUTH takes no user without a password. */
static void check_redis_user(const place_t *root)
{
    const place_t *redis = place_below(root, STR("redis"));
    if (is_given(redis, "user") && !is_given(redis, "password") &&
        !is_given(redis, "password_file"))
        report(place_below(redis, STR("user")), "needs password or password_file beside it");
}

static void check_mysql_tls(const place_t *root)
{
    static const char *const files[] = {"tls_ca_file", "tls_certificate_file"};
    const place_t *mysql = place_below(root, STR("mysql"));
    place_t *place = place_below(mysql, STR("tls"));
    if (!place_is_known(place))
        return;
    mysql_tls_t tls = *(const mysql_tls_t *)place->data;
    if (tls == MYSQL_TLS_VERIFIED && !is_given(mysql, "tls_ca_file"))
        report(place, "is verified, which needs tls_ca_file");
    for (size_t i = 0; tls == MYSQL_TLS_OFF && i < sizeof(files) / sizeof(files[0]); ++i)
        if (is_given(mysql, files[i]))
            report(place_below(mysql, str_of(files[i])), "means nothing while mysql.tls is off");
}

void check_config(place_t *root)
{
    check_places(root);
    check_listeners(root);
    check_auth(root);
    check_origins(root);
    check_redis_user(root);
    check_mysql_tls(root);
    check_shards(place_below(root, STR("shards")));
}

#include "store/db_tls.h"

static void demand(MYSQL *mysql, bool verified)
{
#ifdef MARIADB_PACKAGE_VERSION
    my_bool yes = 1, verify = verified;
    mysql_options(mysql, MYSQL_OPT_SSL_ENFORCE, &yes);
    mysql_options(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify);
#else
    unsigned mode = verified ? SSL_MODE_VERIFY_IDENTITY : SSL_MODE_REQUIRED;
    mysql_options(mysql, MYSQL_OPT_SSL_MODE, &mode);
#endif
}

void db_tls_set(MYSQL *mysql, const config_t *config)
{
    if (config->mysql.tls == MYSQL_TLS_OFF)
        return;
    if (config->mysql.tls_ca_file != NULL)
        mysql_options(mysql, MYSQL_OPT_SSL_CA, config->mysql.tls_ca_file);
    if (config->mysql.tls_files.certificate_file != NULL) {
        mysql_options(mysql, MYSQL_OPT_SSL_CERT, config->mysql.tls_files.certificate_file);
        mysql_options(mysql, MYSQL_OPT_SSL_KEY, config->mysql.tls_files.key_file);
    }
    demand(mysql, config->mysql.tls == MYSQL_TLS_VERIFIED);
}

bool db_tls_is_missing(MYSQL *mysql, const config_t *config)
{
    return config->mysql.tls != MYSQL_TLS_OFF && mysql_get_ssl_cipher(mysql) == NULL;
}

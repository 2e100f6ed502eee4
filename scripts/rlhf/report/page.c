#include "scripts/rlhf/report/report.h"

#include "scripts/rlhf/report/assets.h"
#include "scripts/rlhf/terminal.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void put(Page *page, Bytes *out, const void *text, size_t count)
{
    if (page->status == STATUS_OK) page->status = bytes_append(out, text, count);
}

static void put_string(Page *page, Bytes *out, const char *text)
{
    put(page, out, text, strlen(text));
}

void page_open(Page *page)
{
    *page = (Page){0};
    page->data = json_writer(&page->data_text, 0);
    json_open(&page->data, NULL, '{');
}

void page_free(Page *page)
{
    bytes_free(&page->html);
    bytes_free(&page->contents);
    bytes_free(&page->data_text);
}

void page_print(Page *page, const char *format, ...)
{
    char text[1024];
    void *block = NULL;
    va_list values, again;
    va_start(values, format);
    va_copy(again, values);
    const int length = vsnprintf(text, sizeof text, format, values);
    assert(length >= 0);
    if ((size_t)length < sizeof text) {
        put(page, &page->html, text, (size_t)length);
    } else if (page->status == STATUS_OK) {
        page->status = memory_claim(&block, (size_t)length + 1);
        if (page->status == STATUS_OK) vsnprintf(block, (size_t)length + 1, format, again);
        if (page->status == STATUS_OK) put(page, &page->html, block, (size_t)length);
    }
    va_end(again);
    va_end(values);
    memory_release(block);
}

/* One character, as it may stand in element content and in quoted attributes. */
static void put_character(Page *page, Bytes *out, uint32_t point, const char *text, size_t length)
{
    char escape[16];
    if (strchr("&<>\"'", (int)point) != NULL && point < 0x80 && point != 0) {
        snprintf(escape, sizeof escape, "&#%u;", (unsigned)point);
    } else if (point == '\n') {
        snprintf(escape, sizeof escape, "\\n");
    } else if (terminal_is_control(point)) {
        snprintf(escape, sizeof escape, point < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)point);
    } else {
        put(page, out, text, length);
        return;
    }
    put_string(page, out, escape);
}

static void put_text(Page *page, Bytes *out, const char *text, size_t count)
{
    for (size_t at = 0; at < count;) {
        uint32_t point = 0;
        const size_t length =
            terminal_character(&point, (const unsigned char *)text + at, count - at);
        if (length == 0) {
            put_string(page, out, "\xef\xbf\xbd"); /* U+FFFD */
        } else {
            put_character(page, out, point, text + at, length);
        }
        at += length > 0 ? length : 1;
    }
}

void page_text(Page *page, const char *text, size_t count)
{
    put_text(page, &page->html, text, count);
}

void page_string(Page *page, const char *text)
{
    page_text(page, text, strlen(text));
}

void page_number(Page *page, double value)
{
    char exact[32], shown[32];
    if (!isfinite(value)) {
        page_print(page, "<span class=\"none\" title=\"%s\">–</span>",
                   isnan(value) ? "none" : "not finite");
        return;
    }
    json_number_text(exact, value);
    if (value == trunc(value) && fabs(value) < 1e15) {
        snprintf(shown, sizeof shown, "%.0f", value + 0.0); /* + 0.0: no -0 */
    } else if (fabs(value) >= 1000 && fabs(value) < 1e7) {
        snprintf(shown, sizeof shown, "%.0f", value);
    } else {
        snprintf(shown, sizeof shown, "%.4g", value);
    }
    page_print(page, "<span class=\"number\" title=\"%s\">%s</span>", exact, shown);
}

/* A number with so many decimals, its title as page_number's. */
static void print_fixed(Page *page, double value, int decimals)
{
    char exact[32], shown[64];
    json_number_text(exact, value);
    snprintf(shown, sizeof shown, "%.*f", decimals, value);
    /* No -0.00: what is shown is nothing. */
    const bool nothing = shown[0] == '-' && strspn(shown, "-0.") == strlen(shown);
    page_print(page, "<span class=\"number\" title=\"%s\">%s</span>", exact, shown + nothing);
}

void page_estimate(Page *page, const Estimate *estimate)
{
    const double error = estimate->error;
    if (!isfinite(estimate->mean) || !(error > 0) || !isfinite(error) || error < 1e-9 ||
        fabs(estimate->mean) >= 1e15) {
        page_number(page, estimate->mean);
        return;
    }
    const int decimals = (int)fmax(0, 1 - floor(log10(error)));
    print_fixed(page, estimate->mean, decimals);
    page_print(page, "<span class=\"error\"> ± ");
    print_fixed(page, error, decimals);
    page_print(page, "</span>");
}

void page_cell(Page *page, double value)
{
    page_print(page, "<td>");
    page_number(page, value);
    page_print(page, "</td>");
}

void page_section(Page *page, const char *id, const char *title, const char *about)
{
    if (page->sections++ > 0) page_print(page, "</section>\n");
    page_print(page, "<section id=\"%s\">\n<h2>", id);
    page_string(page, title);
    page_print(page, "</h2>\n");
    if (about != NULL && about[0] != '\0') {
        page_print(page, "<p class=\"about\">");
        page_string(page, about);
        page_print(page, "</p>\n");
    }
    put_string(page, &page->contents, "<li><a href=\"#");
    put_string(page, &page->contents, id);
    put_string(page, &page->contents, "\">");
    put_text(page, &page->contents, title, strlen(title));
    put_string(page, &page->contents, "</a></li>\n");
}

/* ---- the document ---- */

/* 64 hex digits as the base64 of the 32 bytes that they are. */
static void base64_of_hex(char text[45], const char *hex)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char bytes[33] = {0};
    for (int i = 0; i < 32; i++) {
        unsigned byte = 0;
        sscanf(hex + 2 * i, "%2x", &byte);
        bytes[i] = (unsigned char)byte;
    }
    for (int i = 0; i < 11; i++) {
        const unsigned char *three = bytes + 3 * i;
        const unsigned bits = (unsigned)three[0] << 16 | (unsigned)three[1] << 8 | three[2];
        for (int c = 0; c < 4; c++) text[4 * i + c] = letters[bits >> (18 - 6 * c) & 63];
    }
    text[43] = '=';
    text[44] = '\0';
}

/* The only sources a browser may run are the scripts of the page, named by their hashes. */
static void put_policy(Page *page, Bytes *out)
{
    put_string(page, out,
               "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
               "script-src");
    for (int i = 0; i < report_script_count; i++) {
        char hash[45];
        base64_of_hex(hash, report_scripts[i].sha256);
        put_string(page, out, " 'sha256-");
        put_string(page, out, hash);
        put_string(page, out, "'");
    }
    put_string(page, out, "; style-src 'unsafe-inline'; img-src data:\">\n");
}

static void put_head(Page *page, Bytes *out, const char *title)
{
    put_string(page, out,
               "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    put_policy(page, out);
    put_string(page, out,
               "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
               "<meta name=\"color-scheme\" content=\"light dark\">\n"
               "<meta name=\"referrer\" content=\"no-referrer\">\n"
               "<link rel=\"icon\" href=\"data:,\">\n<title>");
    put_text(page, out, title, strlen(title));
    put_string(page, out, "</title>\n");
    for (int i = 0; i < report_style_count; i++) {
        put_string(page, out, "<style>\n");
        put(page, out, report_styles[i].bytes, report_styles[i].count);
        put_string(page, out, "</style>\n");
    }
    put_string(page, out, "</head>\n");
}

/* JSON that may stand inside a script element and, read by an old engine, inside a string. */
static void put_data(Page *page, Bytes *out)
{
    const char *text = page->data_text.data;
    const size_t count = page->data_text.count;
    size_t done = 0;
    for (size_t i = 0; i < count; i++) {
        const char *escape = text[i] == '<'   ? "\\u003c"
                             : text[i] == '>' ? "\\u003e"
                             : text[i] == '&' ? "\\u0026"
                                              : NULL;
        size_t length = 1;
        if (count - i >= 3 && memcmp(text + i, "\xe2\x80\xa8", 3) == 0) escape = "\\u2028";
        if (count - i >= 3 && memcmp(text + i, "\xe2\x80\xa9", 3) == 0) escape = "\\u2029";
        if (escape == NULL) continue;
        if (text[i] == '\xe2') length = 3;
        put(page, out, text + done, i - done);
        put_string(page, out, escape);
        i += length - 1;
        done = i + 1;
    }
    put(page, out, text + done, count - done);
}

static void put_scripts(Page *page, Bytes *out)
{
    put_string(page, out, "<script type=\"application/json\" id=\"data\">");
    put_data(page, out);
    put_string(page, out, "</script>\n");
    for (int i = 0; i < report_script_count; i++) {
        put_string(page, out, "<script>");
        put(page, out, report_scripts[i].bytes, report_scripts[i].count);
        put_string(page, out, "</script>\n");
    }
}

Status page_finish(Bytes *document, Page *page, const char *title, const char *about)
{
    if (page->sections > 0) page_print(page, "</section>\n");
    json_close(&page->data);
    if (page->status == STATUS_OK) page->status = json_done(&page->data);
    put_head(page, document, title);
    put_string(page, document, "<body>\n<header>\n<h1>");
    put_text(page, document, title, strlen(title));
    put_string(page, document, "</h1>\n<p class=\"about\">");
    put_text(page, document, about, strlen(about));
    put_string(page, document, "</p>\n</header>\n<nav aria-label=\"Contents\">\n<ol>\n");
    put(page, document, page->contents.data, page->contents.count);
    put_string(page, document, "</ol>\n</nav>\n<main>\n");
    put(page, document, page->html.data, page->html.count);
    put_string(page, document, "</main>\n");
    put_scripts(page, document);
    put_string(page, document, "</body>\n</html>\n");
    return page->status;
}

/* Latency at a fixed rate: pace PORT RATE SECONDS QUERYFILE
 *
 * Sends RATE questions a second to 127.0.0.1, evenly, whatever the server does (an open loop: a slow answer does not
 * delay the next question, so waiting is not hidden), and prints one JSON line: sent, lost, and percentiles of the
 * time from the moment a question was due until its answer came, in microseconds. QUERYFILE has "NAME TYPE" lines. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { IDS = 65536, QUERIES_MAX = 100000, SIZE = 300 };

static unsigned char queries[QUERIES_MAX][SIZE];
static int lengths[QUERIES_MAX];
static int query_count;
static int64_t due_of[IDS]; /* when the question with this id was due; 0: none is under way */
static uint32_t *latencies; /* nanoseconds */
static size_t answered;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int encode(unsigned char *out, const char *name, int qtype)
{
    static const unsigned char header[12] = { 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0 };
    memcpy(out, header, 12);
    int at = 12;
    while (*name) {
        size_t length = strcspn(name, ".");
        if (length > 63 || at + (int)length + 6 > SIZE)
            return -1;
        out[at++] = length;
        memcpy(out + at, name, length);
        at += length;
        name += length + (name[length] == '.');
    }
    out[at++] = 0;
    out[at++] = qtype >> 8;
    out[at++] = qtype;
    out[at++] = 0;
    out[at++] = 1;
    return at;
}

static void read_queries(const char *path)
{
    FILE *file = fopen(path, "r");
    char name[256], type[16];
    if (!file) {
        perror(path);
        exit(1);
    }
    while (query_count < QUERIES_MAX && fscanf(file, "%255s %15s", name, type) == 2) {
        lengths[query_count] = encode(queries[query_count], name, strcmp(type, "PTR") == 0 ? 12 : 1);
        if (lengths[query_count] > 0)
            query_count++;
    }
    fclose(file);
}

static void receive_all(int socket_fd, size_t capacity)
{
    unsigned char reply[4096];
    ssize_t length;
    while ((length = recv(socket_fd, reply, sizeof reply, MSG_DONTWAIT)) >= 12) {
        int id = reply[0] << 8 | reply[1];
        if (due_of[id] && answered < capacity) {
            int64_t took = now_ns() - due_of[id];
            latencies[answered++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
            due_of[id] = 0;
        }
    }
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile(double share)
{
    size_t at = (size_t)(share * answered);
    return answered ? latencies[at < answered ? at : answered - 1] / 1000.0 : 0;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "pace PORT RATE SECONDS QUERYFILE\n");
        return 2;
    }
    size_t rate = atoi(argv[2]), total = rate * atoi(argv[3]);
    read_queries(argv[4]);
    latencies = calloc(total, sizeof *latencies);
    struct sockaddr_in server = {
        .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    int socket_fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (!query_count || !total || connect(socket_fd, (struct sockaddr *)&server, sizeof server) < 0) {
        fprintf(stderr, "nothing to ask, or no socket: %s\n", strerror(errno));
        return 1;
    }
    int64_t start = now_ns() + 1000000, step = 1000000000LL / rate;
    for (size_t i = 0; i < total; i++) {
        int64_t due = start + (int64_t)i * step;
        while (now_ns() < due)
            receive_all(socket_fd, total);
        int id = i % IDS;
        unsigned char *query = queries[i % query_count];
        query[0] = id >> 8;
        query[1] = id;
        due_of[id] = due;
        send(socket_fd, query, lengths[i % query_count], 0);
    }
    for (int64_t end = now_ns() + 1000000000LL; answered < total && now_ns() < end;)
        receive_all(socket_fd, total);
    qsort(latencies, answered, sizeof *latencies, ascending);
    printf("{\"sent\": %zu, \"lost\": %zu, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}\n",
        total, total - answered, percentile(0.5), percentile(0.9), percentile(0.99), percentile(0.999), percentile(1));
    return 0;
}

/* Stands in for a USB camera: a process that preloads this sees one at /dev/video0.
 *
 * It answers as the kernel's uvcvideo driver does, for memory-mapped streaming. USB_CAMERA names
 * the folder it lives in:
 *
 *   mode                  "WIDTH HEIGHT RATE", the only size and rate there is
 *   mjpeg, yuyv, h264     the frames of each format on offer, in a loop; before each frame stand
 *                         its four bytes of length, the lowest first
 *   unplugged             while it is there: the camera is gone, for those who have it open too
 *   absent                while it is there: the camera cannot be opened
 *   busy                  while it is there: somebody else streams
 *
 * As with a real one, any number may open it and one may use it, in this process or another.
 *
 * The descriptor that open() gives is a timer's, due when the next frame is, so that poll(),
 * select() and O_NONBLOCK work as they are.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define DEVICE "/dev/video0"
#define MOST_BUFFERS 32 /* videobuf2's limit */
#define MOST_CAMERAS 8
#define NANOSECONDS 1000000000LL

_Static_assert(sizeof(off_t) == sizeof(off64_t), "open and open64 are one only on 64 bits");

struct format {
    uint32_t fourcc, flags;
    const char *file, *name;
    const uint8_t *data;
    size_t length, frames, largest, *offsets;
};

static const struct format FORMATS[] = {
    {V4L2_PIX_FMT_MJPEG, V4L2_FMT_FLAG_COMPRESSED, "mjpeg", "Motion-JPEG"},
    {V4L2_PIX_FMT_YUYV, 0, "yuyv", "YUYV 4:2:2"},
    {V4L2_PIX_FMT_H264, V4L2_FMT_FLAG_COMPRESSED, "h264", "H.264"},
};

/* One open file of the camera. */
struct camera {
    pid_t process; /* that opened it; 0 while there is none */
    bool is_streaming;
    int fd, folder, memory;
    uint32_t width, height, rate;
    struct format formats[3];
    unsigned offered, chosen;
    uint8_t *buffers;
    size_t buffer_size;
    unsigned count, queued, queue[MOST_BUFFERS];
    bool is_queued[MOST_BUFFERS];
    int64_t started_ns, next; /* number of the frame to come */
};

static struct camera cameras[MOST_CAMERAS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A child between fork and exec closes its descriptors, maybe in its parent's memory: it has none. */
static struct camera *camera_of(int fd) {
    for (int i = 0; i < MOST_CAMERAS; i++)
        if (cameras[i].process && cameras[i].fd == fd && cameras[i].process == getpid())
            return &cameras[i];
    return NULL;
}

static void require(bool claim, const char *name) {
    if (claim) return;
    fprintf(stderr, "usb_camera.c: wanted: %s\n", name);
    abort();
}

static bool has(int folder, const char *file) { return faccessat(folder, file, F_OK, 0) == 0; }

/* What the functions of these names do that the ones below stand in front of. */
static int real_close(int fd) { return (int)syscall(SYS_close, fd); }

static int real_openat(int folder, const char *path, int flags, mode_t mode) {
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

static void *real_mmap(void *at, size_t length, int access, int flags, int fd, off_t offset) {
    return (void *)syscall(SYS_mmap, at, length, access, flags, fd, offset);
}

static bool load(struct format *format, int folder) {
    struct stat status;
    uint32_t size;
    int fd = real_openat(folder, format->file, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0 || fstat(fd, &status) != 0 || status.st_size == 0) return false;
    format->length = (size_t)status.st_size;
    format->data = real_mmap(NULL, format->length, PROT_READ, MAP_PRIVATE, fd, 0);
    real_close(fd);
    for (size_t at = 0; at < format->length; at += sizeof size + size) {
        format->offsets = realloc(format->offsets, (format->frames + 1) * sizeof(size_t));
        format->offsets[format->frames++] = at;
        memcpy(&size, format->data + at, sizeof size);
        if (size > format->largest) format->largest = size;
    }
    return true;
}

static int open_camera(int flags) {
    const char *path = getenv("USB_CAMERA");
    struct camera *camera = NULL;
    int folder = path ? real_openat(AT_FDCWD, path, O_DIRECTORY | O_CLOEXEC, 0) : -1;
    if (folder < 0 || has(folder, "absent") || has(folder, "unplugged")) {
        if (folder >= 0) real_close(folder);
        return errno = ENOENT, -1;
    }
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST_CAMERAS && !camera; i++)
        if (!cameras[i].process) camera = &cameras[i];
    require(camera != NULL, "fewer open files of the camera");
    *camera = (struct camera){.process = getpid(), .folder = folder, .memory = -1};
    char mode[64] = {0};
    int fd = real_openat(folder, "mode", O_RDONLY | O_CLOEXEC, 0);
    require(read(fd, mode, sizeof mode - 1) > 0, "a file with the mode");
    int numbers = sscanf(mode, "%u %u %u", &camera->width, &camera->height, &camera->rate);
    require(numbers == 3, "WIDTH HEIGHT RATE");
    real_close(fd);
    for (unsigned i = 0; i < sizeof FORMATS / sizeof *FORMATS; i++) {
        struct format format = FORMATS[i];
        if (load(&format, folder)) camera->formats[camera->offered++] = format;
    }
    require(camera->offered > 0, "a file with frames");
    camera->fd = timerfd_create(CLOCK_MONOTONIC, (flags & O_NONBLOCK ? TFD_NONBLOCK : 0) |
                                                     (flags & O_CLOEXEC ? TFD_CLOEXEC : 0));
    pthread_mutex_unlock(&lock);
    return camera->fd;
}

static void free_buffers(struct camera *camera) {
    if (camera->buffers) munmap(camera->buffers, camera->count * camera->buffer_size);
    if (camera->memory >= 0) real_close(camera->memory);
    camera->buffers = NULL;
    camera->memory = -1;
    camera->count = camera->queued = 0;
}

static void close_camera(struct camera *camera) {
    free_buffers(camera);
    real_close(camera->folder);
    for (unsigned i = 0; i < camera->offered; i++) {
        munmap((void *)camera->formats[i].data, camera->formats[i].length);
        free(camera->formats[i].offsets);
    }
    camera->process = 0;
}

/* A user of the camera holds its folder's lock; it ends with the file or with its buffers. */
static bool acquire(struct camera *camera) {
    return !has(camera->folder, "busy") && flock(camera->folder, LOCK_EX | LOCK_NB) == 0;
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NANOSECONDS + now.tv_nsec;
}

static int64_t due_ns(const struct camera *camera) {
    return camera->started_ns + (camera->next + 1) * NANOSECONDS / camera->rate;
}

static void arm(struct camera *camera) {
    int64_t due = camera->is_streaming ? due_ns(camera) : 0; /* 0 disarms */
    struct itimerspec timer = {.it_value = {due / NANOSECONDS, due % NANOSECONDS}};
    timerfd_settime(camera->fd, TFD_TIMER_ABSTIME, &timer, NULL);
}

static void describe(const struct camera *camera, unsigned number, struct v4l2_pix_format *pix) {
    const struct format *format = &camera->formats[number];
    *pix = (struct v4l2_pix_format){
        .width = camera->width,
        .height = camera->height,
        .pixelformat = format->fourcc,
        .field = V4L2_FIELD_NONE,
        .bytesperline = format->flags & V4L2_FMT_FLAG_COMPRESSED ? 0 : 2 * camera->width,
        .sizeimage = (uint32_t)format->largest,
        .colorspace = V4L2_COLORSPACE_SRGB,
        .priv = V4L2_PIX_FMT_PRIV_MAGIC,
    };
}

/* The driver takes its first format for one that it does not know. */
static unsigned nearest(const struct camera *camera, uint32_t fourcc) {
    for (unsigned i = 0; i < camera->offered; i++)
        if (camera->formats[i].fourcc == fourcc) return i;
    return 0;
}

static bool offers(const struct camera *camera, uint32_t fourcc) {
    return camera->formats[nearest(camera, fourcc)].fourcc == fourcc;
}

static int request_buffers(struct camera *camera, struct v4l2_requestbuffers *request) {
    if (request->memory != V4L2_MEMORY_MMAP) return EINVAL;
    if (!acquire(camera) || camera->is_streaming) return EBUSY;
    free_buffers(camera);
    request->capabilities = V4L2_BUF_CAP_SUPPORTS_MMAP;
    if (request->count == 0) return flock(camera->folder, LOCK_UN), 0;
    if (request->count > MOST_BUFFERS) request->count = MOST_BUFFERS;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t largest = camera->formats[camera->chosen].largest;
    camera->buffer_size = (largest + page - 1) / page * page;
    camera->count = request->count;
    size_t length = camera->count * camera->buffer_size;
    camera->memory = (int)syscall(SYS_memfd_create, "usb_camera", 1U /* MFD_CLOEXEC */);
    if (ftruncate(camera->memory, (off_t)length) != 0) return ENOMEM;
    camera->buffers =
        real_mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, camera->memory, 0);
    memset(camera->is_queued, 0, sizeof camera->is_queued);
    return camera->buffers == MAP_FAILED ? ENOMEM : 0;
}

static int describe_buffer(const struct camera *camera, struct v4l2_buffer *buffer) {
    if (buffer->index >= camera->count) return EINVAL;
    buffer->length = (uint32_t)camera->formats[camera->chosen].largest;
    buffer->m.offset = (uint32_t)(buffer->index * camera->buffer_size);
    buffer->memory = V4L2_MEMORY_MMAP;
    buffer->flags = V4L2_BUF_FLAG_MAPPED | V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    if (camera->is_queued[buffer->index]) buffer->flags |= V4L2_BUF_FLAG_QUEUED;
    return 0;
}

static int queue_buffer(struct camera *camera, struct v4l2_buffer *buffer) {
    if (buffer->index >= camera->count || camera->is_queued[buffer->index]) return EINVAL;
    camera->is_queued[buffer->index] = true;
    camera->queue[camera->queued++] = buffer->index;
    return describe_buffer(camera, buffer);
}

static void fill(struct camera *camera, struct v4l2_buffer *buffer) {
    const struct format *format = &camera->formats[camera->chosen];
    const uint8_t *frame = format->data + format->offsets[camera->next % (int64_t)format->frames];
    int64_t due_us = due_ns(camera) / 1000;
    buffer->index = camera->queue[0];
    memmove(camera->queue, camera->queue + 1, --camera->queued * sizeof *camera->queue);
    camera->is_queued[buffer->index] = false;
    describe_buffer(camera, buffer);
    memcpy(&buffer->bytesused, frame, sizeof buffer->bytesused);
    memcpy(camera->buffers + buffer->m.offset, frame + sizeof buffer->bytesused, buffer->bytesused);
    buffer->field = V4L2_FIELD_NONE;
    buffer->sequence = (uint32_t)camera->next;
    buffer->timestamp = (struct timeval){due_us / 1000000, due_us % 1000000};
}

/* Frames wait in the queued buffers; what came when all were full is lost. */
static void lose_what_did_not_fit(struct camera *camera) {
    int64_t late = (now_ns() - due_ns(camera)) * camera->rate / NANOSECONDS;
    if (late >= (int64_t)camera->queued) camera->next += late - (int64_t)camera->queued + 1;
}

/* Called without the lock: others queue buffers while one waits for a frame. */
static int dequeue_buffer(struct camera *camera, struct v4l2_buffer *buffer) {
    for (bool is_filled = false; !is_filled;) {
        uint64_t ticks;
        if (!camera->is_streaming) return EINVAL;
        if (read(camera->fd, &ticks, sizeof ticks) < 0) return errno;
        bool is_unplugged = has(camera->folder, "unplugged");
        pthread_mutex_lock(&lock);
        is_filled = camera->queued && !is_unplugged;
        lose_what_did_not_fit(camera);
        if (is_filled) {
            fill(camera, buffer);
            camera->next++;
        }
        arm(camera);
        pthread_mutex_unlock(&lock);
        if (is_unplugged) return ENODEV;
    }
    return 0;
}

static int stream(struct camera *camera, bool is_on) {
    if (is_on && (!camera->count || !acquire(camera))) return camera->count ? EBUSY : EINVAL;
    if (!is_on) {
        camera->queued = 0;
        memset(camera->is_queued, 0, sizeof camera->is_queued);
    }
    camera->started_ns = now_ns();
    camera->next = 0;
    camera->is_streaming = is_on;
    arm(camera);
    return 0;
}

static int answer(struct camera *camera, uint32_t request, void *data) {
    struct v4l2_fract interval = {1, camera->rate};
    switch (request) {
    case VIDIOC_QUERYCAP: {
        uint32_t device = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING | V4L2_CAP_EXT_PIX_FORMAT;
        *(struct v4l2_capability *)data = (struct v4l2_capability){
            "uvcvideo", "USB Camera", "usb-stand-in-1", 6 << 16,
            device | V4L2_CAP_DEVICE_CAPS, device};
        return 0;
    }
    case VIDIOC_ENUMINPUT: {
        struct v4l2_input *input = data;
        if (input->index) return EINVAL;
        *input = (struct v4l2_input){.name = "Camera 1", .type = V4L2_INPUT_TYPE_CAMERA};
        return 0;
    }
    case VIDIOC_G_INPUT: return *(int *)data = 0;
    case VIDIOC_S_INPUT: return !acquire(camera) ? EBUSY : *(int *)data ? EINVAL : 0;
    case VIDIOC_ENUM_FMT: {
        struct v4l2_fmtdesc *found = data;
        if (found->index >= camera->offered) return EINVAL;
        const struct format *format = &camera->formats[found->index];
        found->flags = format->flags;
        found->pixelformat = format->fourcc;
        snprintf((char *)found->description, sizeof found->description, "%s", format->name);
        return 0;
    }
    case VIDIOC_ENUM_FRAMESIZES: {
        struct v4l2_frmsizeenum *size = data;
        if (size->index || !offers(camera, size->pixel_format)) return EINVAL;
        size->type = V4L2_FRMSIZE_TYPE_DISCRETE;
        size->discrete = (struct v4l2_frmsize_discrete){camera->width, camera->height};
        return 0;
    }
    case VIDIOC_ENUM_FRAMEINTERVALS: {
        struct v4l2_frmivalenum *found = data;
        if (found->index || !offers(camera, found->pixel_format) ||
            found->width != camera->width || found->height != camera->height)
            return EINVAL;
        found->type = V4L2_FRMIVAL_TYPE_DISCRETE;
        found->discrete = interval;
        return 0;
    }
    case VIDIOC_G_FMT:
    case VIDIOC_TRY_FMT:
    case VIDIOC_S_FMT: {
        struct v4l2_format *format = data;
        if (format->type != V4L2_BUF_TYPE_VIDEO_CAPTURE) return EINVAL;
        unsigned number = nearest(camera, format->fmt.pix.pixelformat);
        if (request == VIDIOC_S_FMT) {
            if (!acquire(camera) || camera->count) return EBUSY;
            camera->chosen = number;
        }
        describe(camera, request == VIDIOC_G_FMT ? camera->chosen : number, &format->fmt.pix);
        return 0;
    }
    case VIDIOC_G_PARM:
    case VIDIOC_S_PARM: {
        struct v4l2_streamparm *parameters = data;
        if (parameters->type != V4L2_BUF_TYPE_VIDEO_CAPTURE) return EINVAL;
        if (request == VIDIOC_S_PARM && (!acquire(camera) || camera->is_streaming)) return EBUSY;
        parameters->parm.capture = (struct v4l2_captureparm){
            .capability = V4L2_CAP_TIMEPERFRAME, .timeperframe = interval};
        return 0;
    }
    case VIDIOC_REQBUFS: return request_buffers(camera, data);
    case VIDIOC_QUERYBUF: return describe_buffer(camera, data);
    case VIDIOC_QBUF: return queue_buffer(camera, data);
    case VIDIOC_STREAMON: return stream(camera, true);
    case VIDIOC_STREAMOFF: return stream(camera, false);
    default: return ENOTTY;
    }
}

static int control(struct camera *camera, uint32_t request, void *data) {
    if (has(camera->folder, "unplugged")) return ENODEV;
    if (request == VIDIOC_DQBUF) return dequeue_buffer(camera, data);
    pthread_mutex_lock(&lock);
    int error = answer(camera, request, data);
    pthread_mutex_unlock(&lock);
    return error;
}

int ioctl(int fd, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void *data = va_arg(rest, void *);
    va_end(rest);
    struct camera *camera = camera_of(fd);
    if (!camera) return (int)syscall(SYS_ioctl, fd, request, data);
    int error = control(camera, (uint32_t)request, data);
    return error ? (errno = error, -1) : 0;
}

void *mmap(void *at, size_t length, int access, int flags, int fd, off_t offset) {
    struct camera *camera = camera_of(fd);
    return real_mmap(at, length, access, flags, camera ? camera->memory : fd, offset);
}

int close(int fd) {
    struct camera *camera = camera_of(fd);
    if (camera) {
        pthread_mutex_lock(&lock);
        close_camera(camera);
        pthread_mutex_unlock(&lock);
    }
    return real_close(fd);
}

int openat(int folder, const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    if (strcmp(path, DEVICE) == 0) return open_camera(flags);
    return real_openat(folder, path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return openat(AT_FDCWD, path, flags, mode);
}

/* The same under the names that large files and _FORTIFY_SOURCE have for them. */
int __open_2(const char *path, int flags) { return open(path, flags); }
int __openat_2(int folder, const char *path, int flags) { return openat(folder, path, flags); }
int open64(const char *, int, ...) __attribute__((alias("open")));
int openat64(int, const char *, int, ...) __attribute__((alias("openat")));
int __open64_2(const char *, int) __attribute__((alias("__open_2")));
int __openat64_2(int, const char *, int) __attribute__((alias("__openat_2")));
void *mmap64(void *, size_t, int, int, int, off64_t) __attribute__((alias("mmap")));

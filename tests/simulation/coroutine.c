#include "coroutine.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define STACK_BYTES (256 * 1024)
#else
#define STACK_BYTES (96 * 1024)
#endif

struct coroutine {
    void (*run)(void *context);
    void *context;
    void *inside, *outside; /* stack pointers of whoever does not run */
    struct coroutine *next_free;
    const void *outside_bottom; /* for the sanitizer */
    size_t outside_size;
#if !defined(__x86_64__)
    ucontext_t inside_context, outside_context;
#endif
    _Alignas(64) char stack[STACK_BYTES];
};

static coroutine_t *free_list;

#if defined(__SANITIZE_ADDRESS__)
#define START_SWITCH(save_, bottom_, size_) __sanitizer_start_switch_fiber(save_, bottom_, size_)
#define FINISH_SWITCH(save_, bottom_, size_) __sanitizer_finish_switch_fiber(save_, bottom_, size_)
#else
#define START_SWITCH(save_, bottom_, size_) ((void)0)
#define FINISH_SWITCH(save_, bottom_, size_) ((void)0)
#endif

static void coroutine_main(coroutine_t *coroutine)
{
    FINISH_SWITCH(NULL, &coroutine->outside_bottom, &coroutine->outside_size);
    coroutine->run(coroutine->context);
    coroutine_leave(coroutine);
    abort(); /* nobody enters one that has ended */
}

#if defined(__x86_64__)

/* Saves the registers that a call keeps, and the stack pointer to *save; takes the other's. */
void coroutine_switch(void **save, void *load);
__asm__(".text\n.type coroutine_switch, @function\ncoroutine_switch:\n"
        "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
        "  movq %rsp, (%rdi)\n  movq %rsi, %rsp\n"
        "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
        "  ret\n.size coroutine_switch, .-coroutine_switch\n"
        ".type coroutine_first, @function\ncoroutine_first:\n"
        "  movq %r12, %rdi\n  callq *%r13\n  ud2\n.size coroutine_first, .-coroutine_first\n");
void coroutine_first(void);

static void prepare(coroutine_t *coroutine)
{
    uintptr_t top = ((uintptr_t)coroutine->stack + STACK_BYTES) & ~(uintptr_t)15;
    void **at = (void **)top;
    *--at = (void *)coroutine_first; /* where the first switch returns to, with the stack at top */
    *--at = NULL;                    /* rbp */
    *--at = NULL;                    /* rbx */
    *--at = coroutine;               /* r12 */
    *--at = (void *)coroutine_main;  /* r13 */
    *--at = NULL;                    /* r14 */
    *--at = NULL;                    /* r15 */
    coroutine->inside = at;
}

#define SWITCH_IN(coroutine_) coroutine_switch(&(coroutine_)->outside, (coroutine_)->inside)
#define SWITCH_OUT(coroutine_) coroutine_switch(&(coroutine_)->inside, (coroutine_)->outside)

#else

static void first(unsigned high, unsigned low)
{
    coroutine_main((coroutine_t *)((uintptr_t)high << 32 | low));
}

static void prepare(coroutine_t *coroutine)
{
    getcontext(&coroutine->inside_context);
    coroutine->inside_context.uc_stack.ss_sp = coroutine->stack;
    coroutine->inside_context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&coroutine->inside_context, (void (*)(void))first, 2,
                (unsigned)((uint64_t)(uintptr_t)coroutine >> 32), (unsigned)(uintptr_t)coroutine);
}

#define SWITCH_IN(coroutine_)                                                                      \
    swapcontext(&(coroutine_)->outside_context, &(coroutine_)->inside_context)
#define SWITCH_OUT(coroutine_)                                                                     \
    swapcontext(&(coroutine_)->inside_context, &(coroutine_)->outside_context)

#endif

coroutine_t *coroutine_new(void (*run)(void *), void *context)
{
    coroutine_t *coroutine = free_list;
    if (coroutine != NULL)
        free_list = coroutine->next_free;
    else if ((coroutine = aligned_alloc(64, sizeof(*coroutine))) == NULL)
        abort();
    coroutine->run = run;
    coroutine->context = context;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(coroutine->stack, STACK_BYTES);
#endif
    prepare(coroutine);
    return coroutine;
}

void coroutine_free(coroutine_t *coroutine)
{
    coroutine->next_free = free_list;
    free_list = coroutine;
}

void coroutine_enter(coroutine_t *coroutine)
{
    void *fake = NULL;
    (void)fake;
    START_SWITCH(&fake, coroutine->stack, STACK_BYTES);
    SWITCH_IN(coroutine);
    FINISH_SWITCH(fake, NULL, NULL);
}

void coroutine_leave(coroutine_t *coroutine)
{
    void *fake = NULL;
    (void)fake;
    START_SWITCH(&fake, coroutine->outside_bottom, coroutine->outside_size);
    SWITCH_OUT(coroutine);
    FINISH_SWITCH(fake, &coroutine->outside_bottom, &coroutine->outside_size);
}

//! Builds libmeshvpn.so: the Zig data plane with libsodium inside it.
//!
//! Owns: the compiler version, the default target, which C files of libsodium are compiled, and
//! which symbols leave the library (`meshvpn_*`, nothing else). Does not own: fetching anything;
//! `scripts/build` brings the compiler and libsodium's source and passes `-Dlibsodium=PATH`.
//! Always holds: what a developer builds is what is published: the baseline processor of the
//! architecture and glibc 2.28; wider instructions are chosen at run time.
const std = @import("std");
const builtin = @import("builtin");

const zig_version = "0.17.1";
const glibc_oldest: std.SemanticVersion = .{ .major = 2, .minor = 28, .patch = 0 };

comptime {
    if (!std.mem.eql(u8, builtin.zig_version_string, zig_version)) {
        @compileError("meshvpn is built with Zig " ++ zig_version ++ ", this is " ++
            builtin.zig_version_string ++ "; run scripts/build, which brings the right one");
    }
}

pub fn build(b: *std.Build) void {
    const target = publishedTarget(b);
    const optimize = b.option(std.builtin.Optimize, "optimize", "Default: safe") orelse .safe;
    const strip = b.option(bool, "strip", "Leave debug information out") orelse false;
    const sanitize_thread = b.option(bool, "tsan", "Thread sanitizer in the tests") orelse false;
    const churn = b.option(u32, "churn", "How often peers come and go in the test of that, 2,000 by default") orelse 2_000;
    const aead_safe = b.option(bool, "aead-safe", "Check the cipher's levels with safety checks in them") orelse false;
    const filters = b.option([]const []const u8, "test-filter", "Only tests whose name contains this") orelse &.{};
    const libsodium_path = b.option([]const u8, "libsodium", "libsodium's source folder; scripts/build passes it");

    const fmt_step = b.step("fmt", "Check the formatting of the Zig files");
    fmt_step.dependOn(&b.addFmt(.{ .paths = &.{ b.path("zig"), b.path("build.zig") }, .check = true }).step);

    const abi_gen = b.addExecutable(.{
        .name = "abi_gen",
        .root_module = b.createModule(.{
            .root_source_file = b.path("zig/abi_gen.zig"),
            .target = b.graph.host,
            .optimize = .debug,
        }),
    });
    const abi_files = b.addUpdateSourceFiles();
    abi_files.addCopyFileToSource(b.addRunArtifact(abi_gen).captureStdOut(.{}), "src/native/abi.ts");
    const abi_step = b.step("abi", "Write src/native/abi.ts from zig/abi.zig");
    abi_step.dependOn(&abi_files.step);

    const lib_step = b.step("lib", "Build and install libmeshvpn.so (the default)");
    const sodium_step = b.step("sodium", "Install libsodium.a alone, for `zig test zig/FILE.zig`");
    const test_step = b.step("test", "Run the Zig tests");
    b.getInstallStep().dependOn(lib_step);

    const wall_clock = b.addLibrary(.{
        .name = "wall_clock",
        .linkage = .dynamic,
        .root_module = b.createModule(.{
            .root_source_file = b.path("test/attack/wall_clock.zig"),
            .target = target,
            .optimize = .small,
            .link_libc = true,
        }),
    });
    const wall_clock_step = b.step("libwall_clock.so", "Install test/attack/wall_clock.zig's library");
    wall_clock_step.dependOn(&b.addInstallArtifact(wall_clock, .{}).step);

    // Whoever attacks in tests needs no libsodium, and no library.
    inline for (.{ "attacker", "relay" }) |name| {
        const program = b.addExecutable(.{
            .name = name,
            .root_module = b.createModule(.{
                .root_source_file = b.path("test/attack/" ++ name ++ ".zig"),
                .target = target,
                .optimize = .fast,
                .strip = true,
            }),
        });
        const step = b.step(name, "Install test/attack/" ++ name ++ ".zig's program");
        step.dependOn(&b.addInstallArtifact(program, .{}).step);
    }

    const sodium_root = libsodium_path orelse {
        const missing = b.addFail("no libsodium: run scripts/build, or pass -Dlibsodium=PATH to its source folder");
        for ([_]*std.Build.Step{ lib_step, sodium_step, test_step }) |step| step.dependOn(&missing.step);
        return;
    };
    const sodium = addSodium(b, b.graph.cwdRelativePath(sodium_root), target);
    sodium_step.dependOn(&b.addInstallArtifact(sodium, .{}).step);
    const aead_levels = addAeadLevels(b, target, .fast);

    const parts: LibraryParts = .{
        .target = target,
        .optimize = optimize,
        .strip = strip,
        .sodium = sodium,
        .aead_levels = aead_levels,
    };
    const lib = addLibmeshvpn(b, "meshvpn", "zig/exports.zig", parts);
    lib_step.dependOn(&b.addInstallArtifact(lib, .{}).step);
    const cipher_free = addLibmeshvpn(b, "meshvpn-cipher-free", "zig/cipher_free.zig", parts);
    const cipher_free_step = b.step("cipher-free", "Build a library that seals nothing, to measure the rest");
    cipher_free_step.dependOn(&b.addInstallArtifact(cipher_free, .{}).step);

    var hostile_parts = parts;
    hostile_parts.optimize = .debug;
    const hostile_relay = addLibmeshvpn(b, "meshvpn-hostile-relay", "zig/hostile_relay.zig", hostile_parts);
    const hostile_step = b.step("hostile-relay", "Build a library that ill-treats what it relays, for tests");
    hostile_step.dependOn(&b.addInstallArtifact(hostile_relay, .{}).step);

    const tests = b.addTest(.{
        .root_module = b.createModule(.{
            .root_source_file = b.path("zig/tests.zig"),
            .target = target,
            .optimize = if (optimize == .safe) .debug else optimize,
            .link_libc = true,
            .sanitize_thread = sanitize_thread,
        }),
        .filters = filters,
    });
    tests.root_module.linkLibrary(sodium);
    const test_options = b.addOptions();
    test_options.addOption(u32, "churn", churn);
    tests.root_module.addOptions("test_options", test_options);
    for (aead_levels) |level| tests.root_module.addObject(level);
    for ([_][]const u8{ "chacha20-poly1305", "blake2s-keyed" }) |vectors| {
        tests.root_module.addAnonymousImport(b.fmt("{s}-vectors", .{vectors}), .{
            .root_source_file = b.path(b.fmt("test/vectors/{s}.txt", .{vectors})),
        });
    }
    const run_tests = b.addRunArtifact(tests);
    // Always run: the sockets and devices that tests touch are no inputs the build system can see.
    run_tests.has_side_effects = true;
    test_step.dependOn(&run_tests.step);

    const aead_check = b.addExecutable(.{
        .name = "aead_check",
        .root_module = b.createModule(.{
            .root_source_file = b.path("zig/aead_check.zig"),
            .target = target,
            .optimize = .fast,
            .link_libc = true,
        }),
    });
    aead_check.root_module.linkLibrary(sodium);
    const checked_levels = if (aead_safe) addAeadLevels(b, target, .safe) else aead_levels;
    for (checked_levels) |level| aead_check.root_module.addObject(level);
    const run_aead_check = b.addRunArtifact(aead_check);
    run_aead_check.addPassthruArgs();
    run_aead_check.stdio = .inherit;
    run_aead_check.has_side_effects = true;
    b.step("aead-check", "Run scripts/aead-check's program").dependOn(&run_aead_check.step);

    const fuzz = b.addExecutable(.{
        .name = "meshvpn-fuzz",
        .root_module = b.createModule(.{
            .root_source_file = b.path("zig/fuzz.zig"),
            .target = target,
            .optimize = .safe,
            .link_libc = true,
        }),
    });
    fuzz.root_module.linkLibrary(sodium);
    for (aead_levels) |level| fuzz.root_module.addObject(level);
    b.step("fuzz", "Install scripts/fuzz's program").dependOn(&b.addInstallArtifact(fuzz, .{}).step);
}

const LibraryParts = struct {
    target: std.Build.ResolvedTarget,
    optimize: std.builtin.Optimize,
    strip: bool,
    sodium: *std.Build.Step.Compile,
    aead_levels: []const *std.Build.Step.Compile,
};

/// The shared library, or another of the same kind.
fn addLibmeshvpn(b: *std.Build, name: []const u8, root: []const u8, parts: LibraryParts) *std.Build.Step.Compile {
    const lib = b.addLibrary(.{
        .name = name,
        .linkage = .dynamic,
        .root_module = b.createModule(.{
            .root_source_file = b.path(root),
            .target = parts.target,
            .optimize = parts.optimize,
            .strip = parts.strip,
            .link_libc = true,
            .pic = true,
        }),
    });
    lib.root_module.linkLibrary(parts.sodium);
    for (parts.aead_levels) |level| lib.root_module.addObject(level);
    lib.link_gc_sections = true;
    lib.setVersionScript(b.addWriteFiles().add("libmeshvpn.map", "{ global: meshvpn_*; local: *; };\n"));
    return lib;
}

/// The target that is published: this machine's architecture at its baseline and, with glibc, the
/// oldest one supported, so that a library built anywhere loads everywhere.
fn publishedTarget(b: *std.Build) std.Build.ResolvedTarget {
    var query = b.standardTargetOptionsQueryOnly(.{});
    if (query.cpu_model == .determined_by_arch_os) query.cpu_model = .baseline;
    if (query.os_tag == null) query.os_tag = .linux;
    if (query.abi == null) query.abi = if (b.graph.host.result.abi.isMusl()) .musl else .gnu;
    if (query.abi.? == .gnu and query.glibc_version == null) query.glibc_version = glibc_oldest;
    return b.resolveTargetQuery(query);
}

/// The batched cipher, an object for each level of the processor, since Zig chooses instructions
/// for a compilation and not for a function. All else stays at the baseline. Without safety
/// checks, whatever the rest is compiled with: scripts/aead-check runs the cipher with them.
fn addAeadLevels(b: *std.Build, target: std.Build.ResolvedTarget, optimize: std.builtin.Optimize) []const *std.Build.Step.Compile {
    const x86 = std.Target.x86;
    const Level = struct { []const u8, ?*const std.Target.Cpu.Model, std.Target.Cpu.Feature.Set };
    const baseline: Level = .{ "baseline", null, .empty };
    const levels: []const Level = switch (target.result.cpu.arch) {
        .x86_64 => &.{
            baseline,
            .{ "avx2", &x86.cpu.x86_64_v3, .empty },
            .{ "avx512", &x86.cpu.x86_64_v4, .empty },
            .{ "avx512ifma", &x86.cpu.x86_64_v4, x86.featureSet(&.{.avx512ifma}) },
        },
        .aarch64 => &.{baseline},
        else => &.{},
    };
    const objects = b.allocator.alloc(*std.Build.Step.Compile, levels.len) catch @panic("OOM");
    for (objects, levels) |*object, level| {
        const name, const model, const features = level;
        var query = target.query;
        if (model) |explicit| query.cpu_model = .{ .explicit = explicit };
        query.cpu_features_add.addFeatureSet(features);
        object.* = b.addObject(.{
            .name = b.fmt("aead_{s}", .{name}),
            .root_module = b.createModule(.{
                .root_source_file = b.path("zig/aead_level.zig"),
                .target = b.resolveTargetQuery(query),
                .optimize = optimize,
                .pic = true,
            }),
        });
        // What a library does not call is left out of it.
        object.*.link_function_sections = true;
    }
    return objects;
}

/// libsodium as a static archive, from the few files that the project calls. Its own run-time
/// dispatch chooses among the vector implementations, each of which raises its target features by
/// pragma; so the whole archive is compiled for the baseline.
fn addSodium(b: *std.Build, root: std.Build.LazyPath, target: std.Build.ResolvedTarget) *std.Build.Step.Compile {
    const module = b.createModule(.{
        .target = target,
        .optimize = .fast,
        .strip = true,
        .link_libc = true,
        .pic = true,
        .sanitize_c = .off,
    });
    const generated = b.addWriteFiles();
    // sodium/version.h is made by configure elsewhere; the copy for compilers without it serves.
    _ = generated.addCopyFile(root.path(b, "builds/msvc/version.h"), "version.h");
    const unused = generated.add("sodium_unused.c", sodium_unused);
    const optional_chacha20 = generated.add("sodium_optional_chacha20.c", sodium_optional_chacha20);
    const optional_salsa = generated.add("sodium_optional_salsa20.c", sodium_optional_salsa);
    const optional_asm = generated.add("sodium_optional.S", sodium_optional_asm);
    module.addIncludePath(generated.getDirectory());
    module.addIncludePath(root.path(b, "src/libsodium/include/sodium"));
    module.addIncludePath(root.path(b, "src/libsodium"));

    for (sodium_macros) |name| module.addCMacro(name, "1");
    module.addCMacro("ASM_HIDE_SYMBOL", ".hidden");
    module.addCMacro("TLS", "_Thread_local");
    switch (target.result.cpu.arch.endian()) {
        .little => module.addCMacro("NATIVE_LITTLE_ENDIAN", "1"),
        .big => module.addCMacro("NATIVE_BIG_ENDIAN", "1"),
    }
    const source = root.path(b, "src/libsodium");
    const flags = &.{ "-fvisibility=hidden", "-fno-strict-aliasing", "-fwrapv", "-flax-vector-conversions", "-O3" };
    module.addCSourceFiles(.{ .root = source, .files = &sodium_files, .flags = flags });
    module.addCSourceFile(.{ .file = unused, .flags = flags });
    if (target.result.cpu.arch == .x86_64) {
        for (sodium_macros_x86_64) |name| module.addCMacro(name, "1");
        module.addCSourceFiles(.{ .root = source, .files = &sodium_files_x86_64, .flags = flags });
        module.addCSourceFile(.{ .file = optional_chacha20, .flags = flags });
        module.addCSourceFile(.{ .file = optional_salsa, .flags = flags });
        for (sodium_asm_x86_64) |file| module.addAssemblyFile(source.path(b, file));
        module.addAssemblyFile(optional_asm);
    }
    return b.addLibrary(.{ .name = "sodium", .linkage = .static, .root_module = module });
}

const sodium_macros = [_][]const u8{
    "_GNU_SOURCE",            "CONFIGURED",          "DEV_MODE",            "HAVE_ATOMIC_OPS",
    "HAVE_C11_MEMORY_FENCES", "HAVE_CATCHABLE_ABRT", "HAVE_CATCHABLE_SEGV", "HAVE_CLOCK_GETTIME",
    "HAVE_GCC_MEMORY_FENCES", "HAVE_GETPID",         "HAVE_INLINE_ASM",     "HAVE_INTTYPES_H",
    "HAVE_MADVISE",           "HAVE_MLOCK",          "HAVE_MMAP",           "HAVE_MPROTECT",
    "HAVE_NANOSLEEP",         "HAVE_POSIX_MEMALIGN", "HAVE_PTHREAD",        "HAVE_PTHREAD_PRIO_INHERIT",
    "HAVE_RAISE",             "HAVE_STDINT_H",       "HAVE_SYSCONF",        "HAVE_SYS_AUXV_H",
    "HAVE_SYS_MMAN_H",        "HAVE_SYS_PARAM_H",    "HAVE_SYS_RANDOM_H",   "HAVE_TI_MODE",
    "HAVE_WEAK_SYMBOLS",
};

const sodium_macros_x86_64 = [_][]const u8{
    "HAVE_AMD64_ASM",       "HAVE_AVX_ASM",     "HAVE_CPUID",       "HAVE_XGETBV_ASM",
    "HAVE_CET_H",           "HAVE_MMINTRIN_H",  "HAVE_EMMINTRIN_H", "HAVE_PMMINTRIN_H",
    "HAVE_TMMINTRIN_H",     "HAVE_SMMINTRIN_H", "HAVE_AVXINTRIN_H", "HAVE_AVX2INTRIN_H",
    "HAVE_AVX512FINTRIN_H", "HAVE_WMMINTRIN_H", "HAVE_RDRAND",
};

const sodium_files = [_][]const u8{
    "crypto_aead/chacha20poly1305/aead_chacha20poly1305.c",
    "crypto_aead/xchacha20poly1305/aead_xchacha20poly1305.c",
    "crypto_box/crypto_box.c",
    "crypto_box/crypto_box_easy.c",
    "crypto_box/crypto_box_seal.c",
    "crypto_box/curve25519xsalsa20poly1305/box_curve25519xsalsa20poly1305.c",
    "crypto_core/ed25519/core_ed25519.c",
    "crypto_core/ed25519/ref10/ed25519_ref10.c",
    "crypto_core/hchacha20/core_hchacha20.c",
    "crypto_core/hsalsa20/core_hsalsa20.c",
    "crypto_core/hsalsa20/ref2/core_hsalsa20_ref2.c",
    "crypto_core/salsa/ref/core_salsa_ref.c",
    "crypto_generichash/blake2b/generichash_blake2.c",
    "crypto_generichash/blake2b/ref/blake2b-compress-ref.c",
    "crypto_generichash/blake2b/ref/blake2b-ref.c",
    "crypto_generichash/blake2b/ref/generichash_blake2b.c",
    "crypto_generichash/crypto_generichash.c",
    "crypto_hash/sha512/cp/hash_sha512_cp.c",
    "crypto_hash/sha512/hash_sha512.c",
    "crypto_onetimeauth/poly1305/donna/poly1305_donna.c",
    "crypto_onetimeauth/poly1305/onetimeauth_poly1305.c",
    "crypto_scalarmult/crypto_scalarmult.c",
    "crypto_scalarmult/curve25519/ref10/x25519_ref10.c",
    "crypto_scalarmult/curve25519/scalarmult_curve25519.c",
    "crypto_secretbox/crypto_secretbox.c",
    "crypto_secretbox/crypto_secretbox_easy.c",
    "crypto_secretbox/xsalsa20poly1305/secretbox_xsalsa20poly1305.c",
    "crypto_sign/crypto_sign.c",
    "crypto_sign/ed25519/ref10/keypair.c",
    "crypto_sign/ed25519/ref10/open.c",
    "crypto_sign/ed25519/ref10/sign.c",
    "crypto_sign/ed25519/sign_ed25519.c",
    "crypto_stream/chacha20/ref/chacha20_ref.c",
    "crypto_stream/chacha20/stream_chacha20.c",
    "crypto_stream/salsa20/ref/salsa20_ref.c",
    "crypto_stream/salsa20/stream_salsa20.c",
    "crypto_stream/xsalsa20/stream_xsalsa20.c",
    "crypto_verify/verify.c",
    "randombytes/randombytes.c",
    "randombytes/sysrandom/randombytes_sysrandom.c",
    "sodium/core.c",
    "sodium/runtime.c",
    "sodium/utils.c",
    "sodium/version.c",
};

const sodium_files_x86_64 = [_][]const u8{
    "crypto_generichash/blake2b/ref/blake2b-compress-avx2.c",
    "crypto_generichash/blake2b/ref/blake2b-compress-sse41.c",
    "crypto_generichash/blake2b/ref/blake2b-compress-ssse3.c",
    "crypto_onetimeauth/poly1305/sse2/poly1305_sse2.c",
    "crypto_scalarmult/curve25519/sandy2x/curve25519_sandy2x.c",
    "crypto_scalarmult/curve25519/sandy2x/fe51_invert.c",
    "crypto_scalarmult/curve25519/sandy2x/fe_frombytes_sandy2x.c",
    "crypto_stream/chacha20/dolbeau/chacha20_dolbeau-avx2.c",
    "crypto_stream/chacha20/dolbeau/chacha20_dolbeau-ssse3.c",
    "crypto_stream/salsa20/xmm6/salsa20_xmm6.c",
    "crypto_stream/salsa20/xmm6int/salsa20_xmm6int-avx2.c",
    "crypto_stream/salsa20/xmm6int/salsa20_xmm6int-sse2.c",
};

const sodium_asm_x86_64 = [_][]const u8{
    "crypto_scalarmult/curve25519/sandy2x/consts.S",
    "crypto_scalarmult/curve25519/sandy2x/fe51_mul.S",
    "crypto_scalarmult/curve25519/sandy2x/fe51_pack.S",
    "crypto_scalarmult/curve25519/sandy2x/ladder.S",
    "crypto_scalarmult/curve25519/sandy2x/sandy2x.S",
    "crypto_stream/salsa20/xmm6/salsa20_xmm6-asm.S",
};

/// What only some versions of libsodium have: AVX-512 from 1.0.22, fe51_nsquare until 1.0.20.
const sodium_optional_chacha20 =
    \\#if __has_include("crypto_stream/chacha20/dolbeau/chacha20_dolbeau-avx512.c")
    \\# include "crypto_stream/chacha20/dolbeau/chacha20_dolbeau-avx512.c"
    \\#endif
    \\
;
const sodium_optional_salsa =
    \\#if __has_include("crypto_stream/salsa20/xmm6int/salsa20_xmm6int-avx512.c")
    \\# include "crypto_stream/salsa20/xmm6int/salsa20_xmm6int-avx512.c"
    \\#endif
    \\
;
const sodium_optional_asm =
    \\#if __has_include("crypto_scalarmult/curve25519/sandy2x/fe51_nsquare.S")
    \\# include "crypto_scalarmult/curve25519/sandy2x/fe51_nsquare.S"
    \\#endif
    \\
;

/// sodium_init also chooses implementations of functions that are never called here; leaving
/// those out halves the time to compile.
const sodium_unused =
    \\int _crypto_pwhash_argon2_pick_best_implementation(void);
    \\int _crypto_pwhash_argon2_pick_best_implementation(void) { return 0; }
    \\int _crypto_aead_aegis128l_pick_best_implementation(void);
    \\int _crypto_aead_aegis128l_pick_best_implementation(void) { return 0; }
    \\int _crypto_aead_aegis256_pick_best_implementation(void);
    \\int _crypto_aead_aegis256_pick_best_implementation(void) { return 0; }
    \\
;

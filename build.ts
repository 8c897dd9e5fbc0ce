/**
 * Writes what users get: `dist/bg`, an executable of this platform, and `dist/bg.cjs`, one script
 * that runs under Bun, Deno and Node from any folder. Run it with Bun.
 */
import { chmod, copyFile, mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { runtimeFlags } from "./lib/spawn.ts";

/**
 * The first line of the script is for the kernel, the second for `sh` (for JavaScript it is a
 * string and a comment): the fastest runtime there is, with nothing of the current folder read.
 */
const runtimes = Object.entries(runtimeFlags).map(
	([runtime, flags]) =>
		`command -v ${runtime} >/dev/null && exec ${[runtime, ...flags].join(" ")} "$0" "$@"`,
);
const none = 'echo "bg: needs bun, deno or node on PATH" >&2; exit 111';
const header = `#!/bin/sh\n':' //; ${[...runtimes, none].join("; ")}\n`;

const root = import.meta.dir;
const dist = join(root, "dist");

await mkdir(dist, { recursive: true });
await Promise.all([buildScript(), buildExecutable()]);

async function buildScript(): Promise<void> {
	const { outputs } = await Bun.build({
		entrypoints: [join(root, "bg.ts")],
		target: "node",
		format: "cjs",
	});
	const [script] = outputs;
	if (!script) throw new Error("the bundler wrote nothing");
	const path = join(dist, "bg.cjs");
	await Bun.write(path, header + (await script.text()));
	await chmod(path, 0o755);
}

async function buildExecutable(): Promise<void> {
	const path = join(dist, "bg");
	const made = `${path}.new`;
	await Bun.build({
		entrypoints: [join(root, "bg.ts")],
		target: "bun",
		format: "esm",
		minify: true,
		bytecode: true,
		splitting: true,
		compile: {
			outfile: made,
			autoloadDotenv: false,
			autoloadBunfig: false,
			autoloadTsconfig: false,
			autoloadPackageJson: false,
		},
	});
	// The linker leaves the file in pieces in the page cache; a copy starts faster.
	await copyFile(made, `${path}.copy`);
	await chmod(`${path}.copy`, 0o755);
	await rename(`${path}.copy`, path);
	await rm(made);
}

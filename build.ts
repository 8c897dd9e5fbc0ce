/**
 * Writes what users get: `dist/bg`, an executable of this platform, and `dist/bg.cjs`, one script
 * that runs under Bun, Deno and Node from any folder. Run it with Bun.
 */
import { chmod, copyFile, mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";

/**
 * The first line of the script is for the kernel, the second for `sh` (for JavaScript it is a
 * string and a comment): the fastest runtime there is, with nothing of the current folder read.
 */
const header = `#!/bin/sh
':' //; command -v bun >/dev/null && exec bun --no-env-file --config=/dev/null "$0" "$@"; command -v deno >/dev/null && exec deno run -A --no-config --no-lock "$0" "$@"; exec node "$0" "$@"
`;

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

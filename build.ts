/**
 * Writes what users get: `dist/bg`, an executable of this platform, and `dist/bg.cjs`, one script
 * that runs under Bun, Deno and Node from any folder. Run it with Bun.
 */
import { chmod, mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { runtimeFlags } from "./lib/program.ts";

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

if (import.meta.main) {
	await mkdir(dist, { recursive: true });
	const door = join(root, "bg.ts");
	await Promise.all([buildScript(door), compile(door, join(dist, "bg"))]);
}

async function buildScript(entry: string): Promise<void> {
	const { outputs } = await Bun.build({
		entrypoints: [entry],
		target: "node",
		format: "cjs",
	});
	const [script] = outputs;
	if (!script) throw new Error("the bundler wrote nothing");
	const path = join(dist, "bg.cjs");
	await Bun.write(path, header + (await script.text()));
	await chmod(path, 0o755);
}

/** Compiles a program into an executable that obeys no file of the folder it is called in. */
export async function compile(entry: string, outfile: string): Promise<void> {
	const made = `${outfile}.new`;
	await Bun.build({
		entrypoints: [entry],
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
	await Bun.$`cp ${made} ${outfile}.copy`;
	await rename(`${outfile}.copy`, outfile);
	await rm(made);
}

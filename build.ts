/**
 * Builds `dist/bg`, an executable for this platform; `dist/bg.mjs`, one script for Bun, Deno and Node;
 * and `dist/bg.1`, the man page. `bun build.ts release` also builds `dist/release/`. Run it with Bun.
 */
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import {
	chmod,
	copyFile,
	mkdir,
	readdir,
	readFile,
	rename,
	rm,
	writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import type { BuildConfig, BunPlugin, OnResolveResult } from "bun";
import { createConsola } from "consola";
import { x } from "tinyexec";
import { renderMan } from "./lib/cli/help/man.ts";
import { loadVerbs } from "./lib/cli/verb.ts";
import { verbs } from "./lib/cli/verbs.ts";
import { runtimeFlags } from "./lib/process/executables.ts";
import { removedFolderWord } from "./lib/process/runtime.ts";
import { version } from "./package.json" with { type: "json" };

/** Starts Deno in `/` if the current folder was removed, with a word that says so. */
const leaveRemovedFolder = `[ -n "$(pwd -P 2>/dev/null)" ] || { cd / && set -- ${removedFolderWord} "$@"; }`;

/**
 * The first line of the script is for the kernel, the second for `sh`; in JavaScript it is a string
 * and a comment. It starts the fastest runtime on PATH, with flags against files of the current folder.
 */
const runtimes = Object.entries(runtimeFlags).map(([runtime, flags]) => {
	const call = `exec ${[runtime, ...flags].join(" ")} "$0" "$@"`;
	const act = runtime === "deno" ? `{ ${leaveRemovedFolder}; ${call}; }` : call;
	return `command -v ${runtime} >/dev/null && ${act}`;
});
const noRuntime = 'echo "bg: needs bun, deno or node on PATH" >&2; exit 111';
const header = `#!/bin/sh\n':' //; ${[...runtimes, noRuntime].join("; ")}\n`;

/** The platforms of a release, as Bun names them. */
export const targets = [
	"linux-x64",
	"linux-arm64",
	"linux-x64-musl",
	"linux-arm64-musl",
	"darwin-x64",
	"darwin-arm64",
] as const;

type Target = (typeof targets)[number];

const root = import.meta.dir;
const dist = join(root, "dist");

/**
 * The script has two parts: the entry point with the fast path of a hook, which every runtime parses,
 * and after it, as comments, all deferred code, which is compiled when some of it is first imported.
 */
async function buildScript(entry: string): Promise<void> {
	const deferred: string[] = [];
	const deferImport = onDynamicImport((path) => {
		deferred.push(path);
		return deferredModule;
	});
	const loader = provideDeferred(deferredLoader);
	const entryScript = await bundle(entry, [deferImport, loader]);
	const all = deferred.map((path) => `export * from ${JSON.stringify(path)};`);
	const source = provideDeferred(all.join("\n"));
	const deferredScript = await bundle(deferredModule.path, [source], {
		format: "cjs",
	});
	if (/[\r\u2028\u2029]/.test(deferredScript))
		throw new Error("the deferred code has a line end other than \\n");
	const path = join(dist, "bg.mjs");
	const comment = ["", deferredMark, ...deferredScript.split("\n")].join(
		"\n//",
	);
	await Bun.write(path, header + entryScript + comment);
	await chmod(path, 0o755);
}

/** The line of `dist/bg.mjs` after which the deferred code begins. */
const deferredMark = "-- deferred code";

/** Compiles the deferred code, once. It requires only modules of the runtime. */
const deferredLoader = `
const require = process.getBuiltinModule;
const deferred = { exports: {} };
const text = require("node:fs").readFileSync(new URL(import.meta.url), "utf8");
const [, , ...lines] = text.slice(text.lastIndexOf("\\n//${deferredMark}\\n")).split("\\n//");
new Function("exports", "require", "module", lines.join("\\n"))(deferred.exports, require, deferred);
export const { handleEvent, logHookFault, supervise, runCli } = deferred.exports;
`;

const deferredModule = { path: "deferred", namespace: "deferred" };

/** Provides the source of the deferred module. */
const provideDeferred = (contents: string): BunPlugin => ({
	name: "provide deferred module",
	setup(build) {
		build.onResolve({ filter: /^deferred$/ }, () => deferredModule);
		build.onLoad({ filter: /./, namespace: "deferred" }, () => ({
			contents,
			loader: "js",
		}));
	},
});

/** Resolves each dynamic import of a file of this program. */
const onDynamicImport = (
	resolve: (path: string) => OnResolveResult,
): BunPlugin => ({
	name: "resolve dynamic imports",
	setup(build) {
		build.onResolve(
			{ filter: /^\.\.?\/.*\.ts$/ },
			({ kind, path, importer }) =>
				kind === "dynamic-import"
					? resolve(join(dirname(importer), path))
					: undefined,
		);
	},
});

async function bundle(
	entry: string,
	plugins: BunPlugin[],
	options: Partial<BuildConfig> = {},
): Promise<string> {
	const { outputs } = await Bun.build({
		entrypoints: [entry],
		target: "node",
		minify: true,
		plugins,
		...options,
	});
	const [file] = outputs;
	if (!file) throw new Error("the bundler wrote nothing");
	return file.text();
}

/**
 * Each chunk of an executable is a file to open and link. The entry point is one chunk, and so is
 * everything that a hook loads.
 */
async function buildExecutable(
	entry: string,
	outfile: string,
	target?: Target,
): Promise<void> {
	const keep = onDynamicImport((path) => ({ path, external: true }));
	const chunks = new Map<string, string>();
	for (const path of [entry, join(root, "lib/hook/handle-event.ts")])
		chunks.set(path, await bundle(path, [keep], { target: "bun" }));
	const plugin: BunPlugin = {
		name: "provide chunks",
		setup(build) {
			build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
				const contents = chunks.get(path);
				return contents === undefined ? undefined : { contents, loader: "js" };
			});
		},
	};
	await compile(entry, outfile, { plugin, ...(target && { target }) });
}

/**
 * Compiles a program into an executable that reads no configuration of the folder it is called in.
 * The default target is this platform.
 */
export async function compile(
	entry: string,
	outfile: string,
	{ plugin, target }: { plugin?: BunPlugin; target?: Target } = {},
): Promise<void> {
	const unfinished = `${outfile}.new`;
	await Bun.build({
		entrypoints: [entry],
		target: "bun",
		format: "esm",
		minify: true,
		bytecode: true,
		splitting: true,
		...(plugin && { plugins: [plugin] }),
		compile: {
			outfile: unfinished,
			// Without any runtime flag, an executable does not start in a removed folder.
			execArgv: ["--no-env-file"],
			...(target && { target: `bun-${target}` }),
			autoloadDotenv: false,
			autoloadBunfig: false,
			autoloadTsconfig: false,
			autoloadPackageJson: false,
		},
	});
	// The linker leaves the file scattered in the page cache; a copy starts faster.
	await run("cp", [unfinished, `${outfile}.copy`]);
	await rename(`${outfile}.copy`, outfile);
	await rm(unfinished);
}

/** Builds `dist/release/`: the files to download, and their SHA-256 sums. */
async function buildRelease(entry: string): Promise<void> {
	const folder = join(dist, "release");
	await rm(folder, { recursive: true, force: true });
	await mkdir(folder);
	for (const name of ["bg.mjs", "bg.1"])
		await copyFile(join(dist, name), join(folder, name));
	for (const target of targets) {
		const path = join(folder, `bg-${target}`);
		await buildExecutable(entry, path, target);
		await pipeline(
			createReadStream(path),
			createGzip(),
			createWriteStream(`${path}.gz`),
		);
		await rm(path);
	}
	await buildPlugin(join(folder, "bg-plugin.tar.gz"));
	const names = (await readdir(folder)).sort();
	const sums = names.map(async (name) => {
		const bytes = await readFile(join(folder, name));
		return `${createHash("sha256").update(bytes).digest("hex")}  ${name}\n`;
	});
	await writeFile(
		join(folder, "SHA256SUMS"),
		(await Promise.all(sums)).join(""),
	);
}

/** Packs the plugin that `bg install --plugin` writes. The marketplace has the name of its folder. */
async function buildPlugin(archive: string): Promise<void> {
	const plugin = join(dist, "bg-tasks");
	const script = join(dist, "bg.mjs");
	await run(process.execPath, [script, "install", "--plugin", plugin]);
	await run("tar", ["-czf", archive, "-C", dist, "bg-tasks"]);
	await rm(plugin, { recursive: true });
}

async function run(program: string, args: string[]): Promise<void> {
	const { exitCode, stderr } = await x(program, args, { nodePath: false });
	if (exitCode !== 0)
		throw new Error(`${program} exited ${exitCode}: ${stderr}`);
}

if (import.meta.main) {
	// On stderr: `npm pack --json` builds, and its stdout is JSON.
	const log = createConsola({ stdout: process.stderr });
	await mkdir(dist, { recursive: true });
	const entry = join(root, "bg.ts");
	await Promise.all([
		buildScript(entry),
		buildExecutable(entry, join(dist, "bg")),
		loadVerbs(verbs).then((known) =>
			Bun.write(join(dist, "bg.1"), renderMan(known, version)),
		),
	]);
	log.success("built dist/bg, dist/bg.mjs and dist/bg.1");
	if (process.argv[2] === "release") {
		await buildRelease(entry);
		log.success("built dist/release");
	}
}

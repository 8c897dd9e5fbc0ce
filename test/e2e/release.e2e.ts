/**
 * Tests the release files that `npm run release` has just written. Files of another platform cannot be
 * run here: their first bytes must name that platform.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
	chmodSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	realpathSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { targets } from "../../build.ts";
import { root, sandbox } from "../tools/harness.ts";

const release = join(root, "dist", "release");
const here = `${process.platform}-${process.arch}`;

/** Removed after the tests. */
const folder = realpathSync(mkdtempSync(join(tmpdir(), "bg-test-release-")));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const executable = join(folder, "bg");
const plugin = join(folder, "bg-tasks", "bg");
const installed = join(folder, "node_modules", ".bin", "bg-tasks");

beforeAll(async () => {
	writeFileSync(executable, unpack(here));
	chmodSync(executable, 0o755);
	await must(["tar", "-xzf", join(release, "bg-plugin.tar.gz")], folder);
	writeFileSync(join(folder, "package.json"), "{}");
	await must(["npm", "pack", "--pack-destination", folder], root);
	const [tarball = ""] = readdirSync(folder).filter((name) =>
		name.endsWith(".tgz"),
	);
	await must(["npm", "install", "--offline", `./${tarball}`], folder);
}, 120_000);

const unpack = (target: string) =>
	gunzipSync(readFileSync(join(release, `bg-${target}.gz`)));

async function must(argv: string[], cwd: string): Promise<string> {
	const child = Bun.spawn(argv, { cwd, stdout: "pipe", stderr: "pipe" });
	const [stdout, stderr] = await Promise.all([
		new Response(child.stdout).text(),
		new Response(child.stderr).text(),
	]);
	if (await child.exited) throw new Error(`${argv.join(" ")}: ${stderr}`);
	return stdout;
}

test("the sums are those of all that is there", async () => {
	const checked = await must(["sha256sum", "-c", "SHA256SUMS"], release);
	const names = checked.trim().split("\n");
	expect(names.every((line) => line.endsWith(": OK"))).toBeTrue();
	expect(names).toHaveLength(readdirSync(release).length - 1);
});

/** The first bytes of a program: elf(5), field e_machine; loader.h, fields magic and cputype. */
const heads: Record<(typeof targets)[number], [number, string][]> = {
	"linux-x64": elf("3e00"),
	"linux-arm64": elf("b700"),
	"linux-x64-musl": elf("3e00"),
	"linux-arm64-musl": elf("b700"),
	"darwin-x64": [[0, "cffaedfe07000001"]],
	"darwin-arm64": [[0, "cffaedfe0c000001"]],
};

function elf(machine: string): [number, string][] {
	return [
		[0, "7f454c4602"],
		[18, machine],
	];
}

test.each([...targets])("the executable for %s is one", (target) => {
	const bytes = unpack(target);
	for (const [at, hex] of heads[target])
		expect(bytes.subarray(at, at + hex.length / 2).toString("hex")).toBe(hex);
	const loader = /\/lib\/ld-musl-/.test(bytes.subarray(0, 4096).toString());
	expect(loader).toBe(target.endsWith("-musl"));
});

const script = join(release, "bg.mjs");

test.each([
	["the executable", [executable]],
	["the script under Bun", ["bun", script]],
	["the script under Deno", ["deno", "run", "-A", script]],
	["the script under Node", ["node", script]],
	["the script by its own name", [script]],
	["the plugin's program", [join(plugin, "hooks", "bg.mjs")]],
	["the package as npm installs it", [installed]],
	["the package by npx", ["npx", "--prefix", folder, "bg-tasks"]],
])("%s runs a task to its end", async (_, argv) => {
	const box = sandbox();
	const run = ["run", "-q", "a task", "--", "sh", "-c", "echo out; exit 3"];
	const { stdout } = await box.bg(run, { argv });
	const id = stdout.trim();
	const waited = (await box.bg(["wait", id], { argv })).json();
	expect(waited.tasks).toEqual([
		expect.objectContaining({ taskId: id, status: "error", exit_code: 3 }),
	]);
	expect((await box.bg(["output", id], { argv })).stdout).toBe("out\n");
});

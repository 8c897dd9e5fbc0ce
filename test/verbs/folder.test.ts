import { expect, test } from "bun:test";
import {
	chmodSync,
	chownSync,
	existsSync,
	mkdirSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { findOnPath, runtimeFlags } from "../../lib/process/executables.ts";
import {
	executable,
	program,
	type Sandbox,
	sandbox,
} from "../tools/harness.ts";
import {
	addEnd,
	addTask,
	expectHarmless,
	noticeIn,
	parent,
	send,
	toolUse,
} from "../tools/hooks.ts";
import { unprivileged } from "../tools/namespaces.ts";

/** A folder in which every file that a runtime or bg might obey is hostile. */
function hostileFolder(base: string): { folder: string; marks: string } {
	const folder = join(base, "hostile");
	const marks = join(base, "marks");
	mkdirSync(join(folder, "node_modules", "valibot"), { recursive: true });
	mkdirSync(marks);
	const mark = (name: string) =>
		`require("node:fs").writeFileSync(${JSON.stringify(join(marks, name))}, "")`;
	const files: Record<string, string> = {
		".env": "LEAKED=env\nBG_DIR=/nowhere\nPATH=/nowhere\n",
		".env.local": "LEAKED=local\n",
		"bunfig.toml":
			'preload = ["./evil.cjs"]\n[run]\npreload = ["./evil.cjs"]\n',
		"evil.cjs": mark("preload"),
		"package.json": JSON.stringify({
			type: "module",
			imports: { "#x": "./evil.cjs" },
			bun: { preload: "./evil.cjs" },
		}),
		"tsconfig.json": JSON.stringify({
			compilerOptions: { paths: { "*": ["./evil.cjs"] }, jsx: "evil" },
		}),
		"deno.json": JSON.stringify({
			imports: { valibot: "./evil.cjs" },
			preload: ["./evil.cjs"],
		}),
		".npmrc": "node-options=--require=./evil.cjs\n",
		"node_modules/valibot/index.js": mark("valibot"),
		"node_modules/valibot/package.json": '{"main":"index.js"}',
	};
	for (const [name, text] of Object.entries(files))
		writeFileSync(join(folder, name), text);
	return { folder, marks };
}

/** How an installed hook calls a form: with the flags that a script's own first line gives. */
const called = program.flatMap((word, index) =>
	index === 0 && word === "bun" ? [word, ...runtimeFlags.bun] : [word],
);

test("nothing of the folder it is called in takes effect, in verbs, supervisor or task", async () => {
	const box = sandbox();
	const { folder, marks } = hostileFolder(box.home);
	const at = { cwd: folder, argv: called };
	const id = (
		await box.bg(
			["run", "-q", "d", "--", "sh", "-c", 'echo "$LEAKED-"; pwd'],
			at,
		)
	).stdout.trim();
	const wait = await box.bg(["wait", id], at);
	expect(wait.json().tasks).toMatchObject([{ result: `-\n${folder}` }]);
	// The stand-in runs under Bun, which obeys the folder; this one does not.
	const said = '{"type":"completion","finalText":"ok"}';
	const env = {
		BG_DROID: executable(box.home, "droid", `#!/bin/sh\necho '${said}'\n`),
	};
	const droid = await box.bg(["launch", "-q", "d", "p"], { ...at, env });
	expect(droid.code).toBe(0);
	await box.bg(["wait"], at);
	expect((await box.bg(["list"], at)).json().completed).toBe(2);
	for (const name of ["preload", "valibot"])
		expect(existsSync(join(marks, name))).toBe(false);
});

/**
 * Calls the program from a folder that was removed. Deno itself does not start there; the first lines
 * of the script see to that, so the script is called, on a PATH that has no other runtime.
 */
function inRemovedFolder(box: Sandbox, env: Record<string, string> = {}) {
	const folder = join(box.home, "removed");
	const enter = 'mkdir "$0" && cd "$0" && rmdir "$0" && exec "$@"';
	const argv = ["sh", "-c", enter, folder, ...program];
	if (program[0] !== "deno") return { argv, env };
	const bin = join(box.home, "bin");
	mkdirSync(bin, { recursive: true });
	for (const name of ["sh", "mkdir", "rmdir", "true", "deno"])
		if (!existsSync(join(bin, name)))
			symlinkSync(findOnPath(name) ?? name, join(bin, name));
	const script = program.at(-1) ?? "";
	return { argv: [...argv.slice(0, 4), script], env: { PATH: bin, ...env } };
}

test("a hook in a removed folder does its work", async () => {
	const box = sandbox();
	const ended = addEnd(box, parent);
	const id = addTask(box, { session_id: "ses_0123456789ab" });
	const at = () => inRemovedFolder(box);
	expect(noticeIn(await send(box, toolUse(parent), at()))).toContain(ended);
	const input = JSON.stringify({ session_id: "ses_0123456789ab" });
	expect((await box.bg(["hook-complete"], { ...at(), input })).code).toBe(0);
	expect(box.record(id).status).toBe("completed");
	const lost = inRemovedFolder(box, { BG_DIR: "store" });
	expect(await send(box, toolUse(parent), lost)).toMatchObject({
		code: 0,
		stdout: "",
	});
});

test("verbs work in a removed folder, and a launch with an absolute --cwd", async () => {
	const box = sandbox();
	const call = (...args: string[]) => box.bg(args, inRemovedFolder(box));
	for (const args of [
		["run", "d", "--", "true"],
		["run", "--cwd", "there", "d", "--", "true"],
		["launch", "d", "p"],
	]) {
		const { code, stdout } = await call(...args, "--json");
		expect(code).toBe(2);
		expect(stdout).toMatch(/^\{"error":"the current folder was removed: .*\n$/);
	}
	const run = await call("run", "-q", "--cwd", "/", "d", "--", "true");
	expect(run.code).toBe(0);
	const id = run.stdout.trim();
	expect((await call("wait", id)).json().tasks).toMatchObject([
		{ status: "completed" },
	]);
	expect(box.record(id).cwd).toBe("/");
	const task = await box.run(["sleep", "60"]);
	for (const args of [
		["list", "--cwd", "/"],
		["status", id],
		["output", id],
		["cancel", task],
		["prune"],
		["cleanup"],
		["report"],
		["help"],
	])
		expect([args, (await call(...args)).code]).toEqual([args, 0]);
	expect((await call("doctor")).json().checks).toContainEqual(
		expect.objectContaining({ check: "hooks" }),
	);
	const { code, stdout } = await box.bg(
		["list"],
		inRemovedFolder(box, { BG_DIR: "store" }),
	);
	expect(code).toBe(111);
	expect(stdout).toMatch(
		/^\{"error":"BG_DIR is relative \(store\), and the current folder was removed: .*\n$/,
	);
});

test("in a folder that may not be entered verbs work, and a launch says why it does not", async () => {
	const box = sandbox();
	mkdirSync(box.dir, { mode: 0o700 });
	const folder = join(box.home, "locked");
	mkdirSync(folder);
	if (unprivileged.length) {
		// Root enters any folder.
		for (const path of [box.dir, folder, box.home])
			chownSync(path, 65534, 65534);
		chmodSync(dirname(box.home), 0o755);
	}
	const enter = 'chmod 700 "$0" && cd "$0" && chmod 0 "$0" && exec "$@"';
	const argv = ["sh", "-c", enter, folder, ...unprivileged, ...program];
	const call = (...args: string[]) => box.bg(args, { argv });
	expect((await call("list")).json().tasks).toEqual([]);
	expectHarmless(await send(box, toolUse(parent), { argv }));
	const refused = await call("run", "d", "--", "true");
	expect(refused.code).toBe(2);
	expect(refused.json().error).toContain(
		"the current folder cannot be entered",
	);
	const named = await call("run", "--cwd", folder, "d", "--", "true");
	expect(named.json().error).toContain(`--cwd ${folder} cannot be entered`);
	const run = await call("run", "-q", "--cwd", "/", "d", "--", "true");
	expect(run.code).toBe(0);
	expect((await call("wait", run.stdout.trim())).code).toBe(0);
	chmodSync(folder, 0o700);
});

test("a BG_DIR that is a file or a link to nothing is said to be that, with what to do", async () => {
	const box = sandbox();
	const file = join(box.home, "file");
	const link = join(box.home, "link");
	const toFile = join(box.home, "to-file");
	const nowhere = join(box.home, "no-such");
	writeFileSync(file, "");
	symlinkSync(nowhere, link);
	symlinkSync(file, toFile);
	const hint = "set BG_DIR to a folder, or unset it";
	const said = {
		[file]: `bg: ${file} is a file, not a folder: ${hint}\n`,
		[toFile]: `bg: ${toFile} is a link to a file, not a folder: ${hint}\n`,
		[link]: `bg: ${link} is a link to ${nowhere}, which does not exist: create that folder, or ${hint}\n`,
	};
	for (const [BG_DIR, error] of Object.entries(said))
		for (const args of [
			["list"],
			["status", "@last"],
			["run", "d", "--", "true"],
			["wait"],
		]) {
			const answer = await box.bg(args, { env: { BG_DIR } });
			expect([args, answer.code, answer.error]).toEqual([args, 111, error]);
		}
	expect(existsSync(nowhere)).toBe(false);
	mkdirSync(nowhere, { mode: 0o700 });
	const answer = await box.bg(["list"], { env: { BG_DIR: link } });
	expect(answer).toMatchObject({ code: 0, stderr: "" });
});

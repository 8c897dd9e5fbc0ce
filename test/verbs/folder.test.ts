import { expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runtimeFlags } from "../../lib/program.ts";
import { executable, program, sandbox } from "../harness.ts";

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

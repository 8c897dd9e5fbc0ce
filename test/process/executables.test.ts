import { expect, test } from "bun:test";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { findExecutable } from "../../lib/process/executables.ts";
import { executable, sandbox, until } from "../tools/harness.ts";

test("a program is found where it is now, after a moment", async () => {
	const { dir } = sandbox();
	const folders = ["first", "second"].map((name) => join(dir, name));
	for (const folder of folders) mkdirSync(folder, { recursive: true });
	const [first = "", second = ""] = folders;
	const find = () => findExecutable("tool", "/", `${first}:${second}`);
	const later = executable(second, "tool", "#!/bin/sh\n");
	expect(find()).toBe(later);
	const sooner = executable(first, "tool", "#!/bin/sh\n");
	await until(() => find() === sooner, "the one that comes first on PATH");
	rmSync(sooner);
	await until(() => find() === later, "the one that is left");
	rmSync(later);
	const isMissing = () => {
		try {
			return !find();
		} catch {
			return true;
		}
	};
	await until(isMissing, "none is found");
	expect(find).toThrow("ENOENT, no tool on PATH");
});

test("what was found for one folder or PATH is no answer for another", () => {
	const { dir } = sandbox();
	const [here, there] = ["here", "there"].map((name) => {
		const folder = join(dir, name);
		mkdirSync(folder, { recursive: true });
		return { folder, tool: executable(folder, "tool", "#!/bin/sh\n") };
	});
	for (const each of [here, there, here]) {
		if (!each) throw new Error("no folder");
		expect(findExecutable("tool", "/", each.folder)).toBe(each.tool);
		expect(findExecutable("./tool", each.folder, "")).toBe(each.tool);
	}
});

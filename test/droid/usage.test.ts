import { expect, test } from "bun:test";
import {
	mkdirSync,
	mkdtempSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readSessionUsage, sumSessions } from "../../lib/droid/usage.ts";
import { openStore } from "../../lib/store/directory.ts";
import { writeSessionNote } from "../../lib/store/sessions/session-index.ts";
import { noTokens } from "../../lib/task/usage.ts";
import { afterTest } from "../tools/concurrent.ts";

const session = "92de4a5a-fdf4-4ca0-963b-e14cf21fcf0f";
const cwd = "/home/dev/project";

/** As droid 0.215.0 wrote it. */
const counts = (inputTokens: number, outputTokens: number) => ({
	inputTokens,
	outputTokens,
	cacheCreationTokens: 0,
	cacheReadTokens: 4,
	thinkingTokens: 0,
	factoryCredits: 0,
});

/** A home of droid for one test, named by the environment, and a store. */
function openHome() {
	const home = mkdtempSync(join(tmpdir(), "bg-usage-"));
	const before = process.env.FACTORY_HOME_OVERRIDE;
	process.env.FACTORY_HOME_OVERRIDE = home;
	afterTest(() => {
		if (before === undefined) delete process.env.FACTORY_HOME_OVERRIDE;
		else process.env.FACTORY_HOME_OVERRIDE = before;
		rmSync(home, { recursive: true, force: true });
	});
	const store = openStore({ dir: join(home, "store"), write: true });
	const write = (settings: unknown, { name = session, folder = "" } = {}) => {
		const sessions = join(home, ".factory", "sessions");
		const path = join(sessions, folder || "-home-dev-project");
		mkdirSync(path, { recursive: true });
		const text =
			typeof settings === "string" ? settings : JSON.stringify(settings);
		const file = join(path, `${name}.settings.json`);
		writeFileSync(file, text);
		return file;
	};
	return { home, store, write };
}

test("the tokens of a session include those of its subagents", () => {
	const { store, write } = openHome();
	write({ tokenUsage: counts(6, 5), inclusiveTokenUsage: counts(18, 15) });
	expect(readSessionUsage(store, session, cwd)).toEqual({
		counts: { ...noTokens, input: 18, output: 15, cacheRead: 4 },
	});
	write({ tokenUsage: counts(6, 5) });
	expect(readSessionUsage(store, session, cwd).counts?.input).toBe(6);
});

test("a session of another folder is found as well", () => {
	const { store, write } = openHome();
	write({ tokenUsage: counts(6, 5) }, { folder: "-home-dev-worktree" });
	for (const each of [cwd, undefined, ""])
		expect(readSessionUsage(store, session, each).counts?.input).toBe(6);
});

test("a session that was compacted contains what the one before it used", () => {
	const { store, write } = openHome();
	write({ inclusiveTokenUsage: counts(24, 20) });
	write({ inclusiveTokenUsage: counts(30, 25) }, { name: "next" });
	writeSessionNote(store, session, "next", "next");
	expect(readSessionUsage(store, session, cwd).counts?.input).toBe(30);
	write({ inclusiveTokenUsage: counts(7, 5) }, { name: "next" });
	expect(readSessionUsage(store, session, cwd).counts?.input).toBe(31);
});

test("of sessions in a row the readable ones count", () => {
	const [one, two] = [1, 2].map((input) => ({ ...noTokens, input }));
	if (!one || !two) throw new Error("no counts");
	expect(sumSessions([])).toEqual({});
	expect(sumSessions([one, two])).toEqual({ counts: two });
	expect(sumSessions([two, one])).toEqual({
		counts: { ...noTokens, input: 3 },
	});
	expect(sumSessions([one, "gone"])).toEqual({ counts: one, unread: "gone" });
	expect(sumSessions(["gone", two])).toEqual({ counts: two, unread: "gone" });
});

test("sessions that name each other as the next one are each counted once", () => {
	const { store, write } = openHome();
	write({ inclusiveTokenUsage: counts(1, 1) });
	writeSessionNote(store, session, "next", session);
	expect(readSessionUsage(store, session, cwd).counts?.input).toBe(1);
});

test.each([
	["no JSON", '{"tokenUsage":', "no JSON"],
	["a list", "[]", "no count of tokens"],
	["null", "null", "no count of tokens"],
	["a text", '"x"', "no count of tokens"],
	["no usage", "{}", "no count of tokens"],
	["a negative count", { tokenUsage: counts(-1, 5) }, "no count of tokens"],
	["half a token", { tokenUsage: counts(0.5, 5) }, "no count of tokens"],
	["a huge number", '{"tokenUsage":{"inputTokens":1e400}}', "no count"],
	["text", { tokenUsage: { inputTokens: "6", outputTokens: 5 } }, "no count"],
	["too much", " ".repeat(1024 * 1024 + 1), "too large"],
])("a settings file with %s has no count of tokens", (_, settings, problem) => {
	const { store, write } = openHome();
	write(settings);
	const { counts: none, unread } = readSessionUsage(store, session, cwd);
	expect(none).toBeUndefined();
	expect(unread).toContain(`${session}.settings.json`);
	expect(unread).toContain(problem);
});

test("what is no file, or cannot be read, is said", () => {
	const { store, write } = openHome();
	const read = (id = session) => readSessionUsage(store, id, cwd).unread;
	expect(read()).toBe(`droid has no ${session}.settings.json`);
	expect(read("../../x")).toBe("droid named no valid session");
	expect(read("")).toBe("droid named no valid session");
	const file = write({});
	rmSync(file);
	mkdirSync(file);
	expect(read()).toContain("it is no file");
	rmSync(file, { recursive: true });
	Bun.spawnSync(["mkfifo", file]);
	expect(read()).toContain("it is no file");
	rmSync(file);
	symlinkSync("/dev/zero", file);
	expect(read()).toContain("it is no file");
});

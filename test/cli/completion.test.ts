import { expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
	findPlace,
	renderChoices,
	renderScript,
	type Shell,
	shells,
} from "../../lib/cli/help/completion.ts";
import { type Sandbox, sandbox, until } from "../tools/harness.ts";

const here = shells.filter((shell) => Bun.which(shell));
for (const shell of shells)
	if (!here.includes(shell))
		console.log(`not on PATH, so not tested: the completions of ${shell}`);

const args = {
	id: { type: "positional", from: "tasks" },
	autonomy: { type: "positional", from: ["low", "high"] },
	all: { type: "boolean", description: "all of them" },
	status: { type: "string", from: ["error", "queued"] },
	tag: { type: "string", multiple: true },
	worktree: { type: "string", inline: true },
	cwd: { type: "string", from: "folders" },
} as const;

test.each([
	[[""], "tasks"],
	[
		["bg_1", ""],
		["low", "high"],
	],
	[["bg_1", "low", ""], []],
	[["--cwd", ""], "folders"],
	[["--tag", ""], []],
	[["--worktree", ""], "tasks"],
	[["--all", ""], "tasks"],
	[
		["--status", ""],
		["error", "queued"],
	],
	[["--nonsense", ""], "tasks"],
	[["--nonsense=x"], []],
	[["--", ""], "tasks"],
])("behind %j stands one of %j", (words, from) => {
	expect(findPlace(args, words).from).toEqual(from as never);
});

const run = {
	description: { type: "positional" },
	command: {
		type: "positional",
		multiple: true,
		dashes: true,
		from: "commands",
	},
} as const;

test.each([
	[["d", ""], []],
	[["d", "--", ""], "commands"],
	[["d", "--", "make", ""], "files"],
	[["d", "--", "make", "--a"], "files"],
])("of a command, %j asks for %j", (words, from) => {
	expect(findPlace(run, words).from).toEqual(from as never);
});

test("a flag is offered once, one that may be repeated again", () => {
	const place = findPlace(args, ["--all", "--tag", "x", "--"]);
	const lines = renderChoices(place, place.from as never).split("\n");
	expect(lines).not.toContain("--all\tall of them");
	expect(lines).toContain("--tag");
	expect(lines).toContain("--status");
});

test.each([
	["--status=e", "--status=error\n"],
	["--status=error,", "--status=error,queued\n"],
])("%s goes on as %j", (word, lines) => {
	const place = findPlace(args, [word]);
	const choices = ["error", "queued"].map((value) => ({ value, about: "" }));
	expect(renderChoices(place, choices)).toBe(lines);
});

test("what a choice is about is one line without control characters", () => {
	const place = findPlace(args, [""]);
	const about = "a\tb\n\u001b]0;c\u0007 \u009b2J `d` $(e)";
	const choices = [{ value: "bg_1", about }];
	expect(renderChoices(place, choices)).toBe("bg_1\ta b `d` $(e)\n");
});

const hostile = "$(touch pwned) `touch pwned`; touch pwned # %F{red}\u001b]0;x";

/** Two tasks that are over, the newest one first. */
async function twoTasks(box: Sandbox): Promise<string[]> {
	const ids: string[] = [];
	for (const description of [hostile, "harmless"]) {
		const { stdout } = await box.bg(["run", "-q", description, "--", "true"]);
		ids.unshift(stdout.trim());
	}
	await box.bg(["wait", ...ids]);
	return ids;
}

test.each(here)("%s reads its script without a complaint", async (shell) => {
	const box = sandbox();
	const { stdout } = await box.bg(["completion", shell]);
	const path = join(box.home, "script");
	writeFileSync(path, stdout);
	const check = await box.bg(["-n", path], { argv: [shell] });
	expect(check).toMatchObject({ code: 0, stdout: "", stderr: "" });
});

/** What is typed into each shell to start with: a prompt to wait for. */
const starts = {
	bash: ["bash", "--norc", "--noprofile"],
	zsh: ["zsh", "-f"],
	fish: ["fish", "-N", "-C", "function fish_prompt; echo 'ready> '; end"],
} as const satisfies Record<Shell, readonly string[]>;

/** A shell in a terminal: keys go in, what is seen comes out. */
function openShell(box: Sandbox, shell: Shell) {
	const command = starts[shell].map((word) => `"${word}"`).join(" ");
	const child = Bun.spawn(["script", "-qfec", command, "/dev/null"], {
		cwd: box.home,
		env: { ...box.env, PS1: "ready> ", TERM: "xterm", COLUMNS: "200" },
		stdin: "pipe",
		stdout: "pipe",
		stderr: "ignore",
	});
	let screen = "";
	let files = 0;
	const reading = (async () => {
		const decoder = new TextDecoder();
		for await (const part of child.stdout)
			screen += decoder.decode(part, { stream: true });
	})();
	const type = (keys: string) => {
		child.stdin.write(keys);
		child.stdin.flush();
	};
	const seen = () => screen;
	return {
		type,
		/** Waits until a text is seen. */
		see: (text: string) => until(() => seen().includes(text), text, seen),
		/** Types a command, and waits until it has answered. */
		do: async (command: string, answer: string) => {
			const file = join(box.home, String(files++));
			type(`${command} > ${file}\n`);
			const read = () =>
				existsSync(file) ? readFileSync(file, "utf8") : undefined;
			const json = JSON.stringify(answer).slice(1, -1);
			await until(
				() => [answer, json].some((text) => read()?.includes(text)),
				answer,
				seen,
			);
		},
		/** Hangs up. */
		close: async () => {
			child.kill();
			await child.exited;
			await reading;
		},
	};
}

test.each(here)(
	"%s completes verbs, flags, values and tasks at its prompt, and obeys no description",
	async (shell) => {
		const box = sandbox();
		const [newest = ""] = await twoTasks(box);
		const { stdout } = await box.bg(["completion", shell]);
		writeFileSync(join(box.home, "script"), stdout);
		const terminal = openShell(box, shell);
		try {
			await terminal.see("ready> ");
			if (shell === "zsh")
				await terminal.do("autoload -U compinit; compinit -u -D; echo", "");
			await terminal.do("source ./script; echo", "");
			await terminal.do("bg stat\t@la\t--js\t", `"id":"${newest}"`);
			await terminal.do("bg list --form\tjson --status=comp\t", hostile);
			await terminal.do("bg run -q d -- mktem\t-u", "bg_");
			terminal.type("bg status \t\t\t");
			await terminal.see("touch pwned");
			await terminal.see("harmless");
		} finally {
			await terminal.close();
		}
		await box.bg(["wait"]);
		expect(existsSync(join(box.home, "pwned"))).toBe(false);
	},
);

/** What bash would insert or list. */
async function replies(box: Sandbox, words: string[], type: string) {
	const quoted = words.map((word) => `'${word}'`).join(" ");
	const { stdout } = await box.bg(["completion", "bash"]);
	const ask = `${stdout}
COMP_WORDS=(${quoted}) COMP_CWORD=${words.length - 1} COMP_LINE='${words.join(" ").replace(/ = ?/, "=").replace("@ ", "@")}' COMP_TYPE=${type.charCodeAt(0)}
_bg
printf '%s\\n' "\${COMPREPLY[@]}"`;
	const answer = await box.bg(["-c", ask], { argv: ["bash"] });
	expect(answer.stderr).toBe("");
	return answer.stdout.split("\n").slice(0, -1);
}

test("bash inserts values alone, also where it goes through them one by one", async () => {
	const box = sandbox();
	const ids = await twoTasks(box);
	for (const type of ["\t", "%", "*"])
		expect(await replies(box, ["bg", "status", ""], type)).toEqual(ids);
	const [newest, other] = await replies(box, ["bg", "status", ""], "?");
	expect(newest).toBe(`${ids[0]}  (completed, harmless)`);
	expect(other).toStartWith(`${ids[1]}  (completed, $(touch pwned)`);
	const one = await replies(box, ["bg", "status", ids[1] ?? ""], "?");
	expect(one).toEqual([ids[1]] as string[]);
	expect(existsSync(join(box.home, "pwned"))).toBe(false);
});

test("what bash takes apart is one word again", async () => {
	const box = sandbox();
	await twoTasks(box);
	const typed = [
		[["bg", "list", "--status", "=", "err"], ["error"]],
		[["bg", "list", "--status", "="], undefined],
		[["bg", "status", "@", "la"], ["@last"]],
	] as const;
	for (const [words, expected] of typed) {
		const found = await replies(box, [...words], "\t");
		if (expected) expect(found).toEqual([...expected]);
		else expect(found).toContain("cancelled");
	}
});

test("a fault is no word at a prompt", async () => {
	const box = sandbox();
	writeFileSync(box.dir, "no directory");
	for (const words of [
		["status", ""],
		["toString", ""],
		["__proto__", ""],
	]) {
		const answer = await box.bg(["completion", "bash", "--", ...words]);
		expect(answer).toMatchObject({ code: 0, stdout: "", stderr: "" });
	}
});

test("a program with an odd name is quoted", () => {
	const odd = "/o'd d/b$g";
	const script = renderScript("bash", [odd, "x"]);
	expect(script).toContain("'/o'\\''d d/b$g' x completion bash");
	expect(renderScript("fish", ["a\\'b"])).toContain("'a\\\\\\'b'");
});

/**
 * Runs all tests: every test over the source, then `test/verbs` over each built form. Files run in
 * parallel; those in folders named `load`, which fill or measure the machine, one at a time afterwards.
 * Prints at the end what each failed test said and its name, and a last line `N passed, N failed`. Exits 1 if a test
 * failed, a run died or a file was not run.
 */
import { join } from "node:path";

const root = join(import.meta.dir, "..");

const forms = [
	"bun bg.ts",
	"dist/bg",
	"bun dist/bg.mjs",
	"deno run -A dist/bg.mjs",
	"node dist/bg.mjs",
];

/** How many lines before a failed test's name are repeated at the end of the run. */
const contextLines = 30;

/**
 * Tests wait most of their time: more workers than cores, and several tests of a file at once. With many more, each
 * takes so long on a slow machine that it is ended, and what it leaves makes the others slower.
 */
const workers = 4;
const testsAtOnce = 8;

/** The longest test, in ms: no test fails because a machine is slow. */
const timeoutMs = 240_000;

let passed = 0;
const failures: string[] = [];
/** What was printed before each failed test's name. */
const details: string[] = [];

for (const [index, form] of forms.entries()) {
	const folder = index === 0 ? "test" : "test/verbs";
	const files = [
		...new Bun.Glob(`${folder}/**/*.test.ts`).scanSync(root),
	].sort();
	const isLoad = (file: string) => /\/load\//.test(file);
	const others = files.filter((file) => !isLoad(file));
	await run(form, others, [`--parallel=${workers}`]);
	await run(form, files.filter(isLoad), []);
}

for (const detail of details) console.log(`\n${detail}`);
for (const failure of failures) console.log(`failed: ${failure}`);
console.log(`\n${passed} passed, ${failures.length} failed`);
process.exit(failures.length ? 1 : 0);

/** Runs test files over a form of the program, and adds up their results. */
async function run(form: string, files: string[], flags: string[]) {
	const start = performance.now();
	process.stderr.write(`\n== ${form} ==\n`);
	const paths = files.map((file) => `./${file}`);
	const child = Bun.spawn(
		[
			"bun",
			"test",
			...["--timeout", String(timeoutMs)],
			...["--max-concurrency", String(testsAtOnce)],
			...flags,
			...paths,
		],
		{
			cwd: root,
			env: { ...process.env, BG: form },
			stdout: 2,
			stderr: "pipe",
		},
	);
	let stderr = "";
	const decoder = new TextDecoder();
	for await (const chunk of child.stderr) {
		process.stderr.write(chunk);
		stderr += decoder.decode(chunk, { stream: true });
	}
	const count = (pattern: string) =>
		Number(new RegExp(`^\\s*(\\d+) ${pattern}`, "m").exec(stderr)?.[1] ?? 0);
	// Bun repeats the names at the end if there are many.
	const names = new Set(
		[...stderr.matchAll(/^(?:\(fail\)|✗) (.*)$/gm)].map(([, name]) => name),
	);
	const before = failures.length;
	for (const name of names) {
		failures.push(`${form}: ${name}`);
		const lines = stderr.slice(0, stderr.indexOf(`(fail) ${name}`)).split("\n");
		details.push(`${lines.slice(-contextLines).join("\n")}(fail) ${name}`);
	}
	for (let n = names.size; n < count("fail$"); n++)
		failures.push(`${form}: a failure without a name of its own`);
	if (failures.length === before && (await child.exited) !== 0)
		failures.push(`${form}: the run ended with ${child.exitCode}`);
	const ran = /^Ran \d+ tests? across (\d+) files?\./m.exec(stderr)?.[1] ?? 0;
	if (Number(ran) !== files.length)
		failures.push(`${form}: ${ran} of ${files.length} files were run`);
	passed += count("pass$");
	const seconds = Math.round((performance.now() - start) / 1000);
	console.log(`${form}: ${count("pass$")} passed in ${seconds} s`);
}

"""What `threeloops --help` and `threeloops VERB --help` say."""

from __future__ import annotations

STORY = """One strict scorer, three loops.

  Loop A  eval    measures a policy          changes nothing
  Loop B  select  picks the best of N        changes which output is used
  Loop C  learn   trains the policy          changes the model

All three use the same scorer: reward 1 only if the whole answer is exactly
`Final: <int>` with the right integer. If you change the scorer, you change
what is measured."""

EXAMPLES = """examples:
  threeloops demo                               all three loops, start to end
  threeloops eval --samples 4                   how good is the default model?
  threeloops select --samples 8 --pick majority how far does search get?
  threeloops learn --steps 20                   train, then measure again
  threeloops eval --model models:/threeloops@candidate
  threeloops eval --dataset mine.jsonl --completions answers.jsonl
  threeloops promote models:/threeloops/1       is it better than the champion?
  threeloops compare RUN RUN                    which is better, by how much?
  threeloops score "Final: 42" --expected 42    what would be paid, and why?
  threeloops prompt --template mine.yaml        what would a model get?
  threeloops doctor                             is all that is kept whole?

exit codes: 0 done, 1 the answer is no, 2 bad input, 70 a defect of threeloops,
130 stopped"""

DEMO = """Measure the default model (loop A), pick the best of its completions (loop B),
train it (loop C) and measure it again, on problems that training never saw.

It ends with one table of the three loops and a picture of the learning."""
EVAL = """Loop A, evaluation. The model answers every problem, the scorer scores every
completion, and the pass rate is printed with its 95 % interval and the reasons
of the failures. Nothing is changed.

With --completions it scores completions that exist already: of a run, or of a
file by inspect_ai, lm-eval, TRL, an OpenAI batch or verifiers. It then loads no
model; --samples takes the first of each problem's answers."""
SELECT = """Loop B, selection. Samples N completions for each problem and picks one of them
by a rule:

  oracle      by the scorer, which needs the expected answer
  majority    the integer that most completions agree on
  likelihood  the completion with the highest log-probability
  random      any completion: the control

The model does not change: a gain here is a gain by search."""
LEARN = """Loop C, learning. Samples completions, scores them, and makes those that did
better than expected more likely: it maximises E[reward] - beta * KL(policy ||
start). The result is a model version in the registry, which
--model models:/NAME/VERSION loads.

Every --dev-every steps it measures the split dev, so that you can choose
settings without looking at the holdout. It stops if a number is not finite, or
if KL to the start exceeds --max-kl: then it keeps the last good policy and
registers nothing (exit 1). --resume RUN --max-kl NATS continues from there.

With --max-minutes M it takes no step that would end the run later: the time of
the evaluation after learning is kept free. What was learned by then becomes a
version as ever.

Several processes share the work under torchrun or srun, one for each GPU:

  torchrun --nproc-per-node 2 -m threeloops learn --steps 20

Each samples and learns from its own problems of a step. --shard-weights splits
weights, gradients and moments too, for a model that does not fit.

With --adapter lora a server can sample the steps, such as a vLLM that has the
same model and was started with --enable-lora:

  threeloops learn --adapter lora --base-url http://127.0.0.1:8000/v1

It loads each step's adapter, and what it samples is checked against this
policy. With --max-off-policy-steps N it samples N steps ahead."""
RESCORE = """Score stored completions again with another scorer, and show what changed, row
by row. No model is loaded and nothing is generated.

  threeloops rescore eval-1a2b3c --scorer contains_int@1
  threeloops rescore answers.jsonl --dataset mine.jsonl --scorer mymodule:scorer

The new scores are kept beside the old ones, as a run of their own. Completions
from a file have no scores yet: they are compared with those of final_int@1.

  threeloops rescore --golden golden.jsonl --dataset mine.jsonl

checks the scorer itself. Each line is {"id": PROBLEM, "completion": TEXT,
"expected_reward": 0 or 1}; it may add "finish_reason" ("stop" or "length").
A row that gets more than it should is a false positive, an exploit that pays;
a row that gets less is a false negative. Exit 1 if there is any of either."""
COMPARE = """Compare two runs, problem by problem. Both must have been measured with the
same instrument: dataset, split, prompt_template, scorer and sampling.
Otherwise the answer is no (exit 1), with each part that differs and both its
values. --allow PART compares them anyway, and says so.

  threeloops compare eval-1a2b3c eval-4d5e6f
  threeloops compare learn-1a2b3c:before learn-1a2b3c:after
  threeloops compare eval-1a2b3c select-4d5e6f:majority

A learning run means its measurement after learning, unless you add :before. A
selection run means all its samples; with a rule, what that rule picked.

It prints both pass rates, their difference with its 95 % interval over
problems, a paired test, the difference in each family, the smallest difference
that could have been found, the problems that flipped, and whether a gain is by
search (loop B) or by learning (loop C)."""
PROMOTE = """Give a model version the alias champion, if all of this is true:

  - it was evaluated on the holdout, and so was the present champion, with the
    same instrument; if there is no champion, the version's start is used
  - since then, neither a table of the two nor the weights have changed
  - it was not trained on problems of the holdout
  - the interval of its gain, paired over problems, is above --min-gain; its
    level rises from 97 % with every look at the evidence
  - measured once more, with a new seed and twice the samples, it shows that
    gain again

What is shown as its gain is measured after that; together this takes four
evaluations.

A learning run's measurements before and after on the holdout are evaluations
too. Otherwise the answer is no (exit 1), with every reason. In both cases the
decision and its evidence are kept as a run in MLflow and as tags of the
version.

  threeloops promote models:/threeloops/1
  threeloops eval --model models:/threeloops@champion

With --rollback the former champion is champion again, at once and without new
evidence, if its version and weights are still those that were registered. The
reason is kept. The next rollback goes one further back. What was rolled back
needs the gate to be champion again.

  threeloops promote models:/threeloops --rollback --reason 'wrong on dates'"""
RUNS = """One line a run, newest first: pass@1 with its 95 % interval (for a learning run:
after), the model that it measured or made, and the instrument. The decisions of
the gate follow.

  threeloops runs --instrument 2700fe0a --sort pass_rate   the best comparable
  threeloops runs --model models:/threeloops --failures    why completions fail"""
SHOW = """One run or decision: what it printed, then its completions grouped by outcome
and code. A character that cannot be seen is written as an escape (\\n, \\u200b,
and \u2420 for a space at either end or beside another space), because a tiny
change of format is a big change of probability.

With --lineage, everything from the dataset to the gate's decision, each with
the digest that was recorded and whether the stored bytes still have it. Exit 1
where one does not.

  threeloops show --lineage models:/threeloops/1"""
UP = """Start Prefect's server, MLflow's page and a worker with the deployments of
prefect.yaml, until Ctrl-C.

It prints a link to each page. A link opens once, and its browser may then use
both pages. Nobody else can: no other user of this machine, and no other web
page. `threeloops up` in a second terminal prints new links. Commands of yours
find the running servers by themselves.

With --host the pages can be opened from other machines. That needs TLS, or
--insecure-http."""
DOCTOR = """Check everything that the data folder keeps against the recorded digests:
tables, keys, models, versions and checkpoints. Find what names something that
is gone, what killed commands left behind, and what on this machine could make
a command fail. Each finding says what it means and what to do.

Nothing is changed, and no server is needed. With --repair it closes dead runs,
ends servers that outlived their command, and writes again what another file of
the data folder still has. What is damaged or left over is moved into
set-aside/TIME in the data folder. Nothing is deleted.

Exit 0 without damage, 1 where damage is left."""
GC = """Find what nothing refers to any more: tables that no run or version names and
that nothing named was made from, keys that lead to them, checkpoints of runs
that are gone. It says how much there is of each, and drops nothing.

  threeloops gc                what would be dropped
  threeloops gc --delete       drop it

Runs and versions are never dropped: delete them on MLflow's page first. What
was made or used in the last 24 hours stays, and so does everything that was
used since a run that is under way began. A store that several machines share
is left alone. Where MLflow cannot say what its runs refer to, nothing is
dropped (exit 2)."""
SYNC = """A server that dies while a command runs does not end it: what the server could
not be told is kept in the data folder. The next command that uses the server
sends it, each record once, and so does this verb, which says what it sent.

Exit 1 if something could not be sent: it stays kept."""
EXPORT = """Copy a model version, after its files were checked, into a new folder that
transformers loads; or write a run's problems, answers and verdicts as JSON
lines.

  threeloops export models:/threeloops/1 --to ./exported
  threeloops export eval-1a2b3c --to jsonl --out exported.jsonl

The file is a dataset and its answers at once:

  threeloops eval --dataset exported.jsonl --completions exported.jsonl"""
SCORE = """The verdict of a scorer on one text. Nothing is stored and no model is loaded.
The text is judged as it is: a space or a line break more is another text.

  threeloops score "Final: 42" --expected 42
  threeloops score "$(printf 'six sevens\\nFinal: 42')" --expected 42 \\
      --scorer final_line_int@1"""
ASK = """Ask a model one question, as the loops would ask it, and see its answers with
their tokens. With --expected each is judged. Nothing is recorded.

  threeloops ask "What is 6 * 7?" --expected 42 --samples 4"""
PROMPT = """Show the exact text that a model would get for the first problems of a dataset,
one where --limit says no other number, with the tokens of it and the digest of
the template. Only the model's tokenizer is loaded. A character that cannot be
seen is written as an escape.

  threeloops prompt --template few_shot_plain@1
  threeloops prompt --template mine.yaml --dataset mine.jsonl --limit 2

A template of your own is a file, YAML or TOML, which every verb with
--template takes."""
TOKENS = """Show the tokens of a text under the policy's tokenizer: a tiny change of format
is a big change of probability. With --prompt, also show the log-probability of
each token under the policy, and its rank."""

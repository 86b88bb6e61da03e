"""jinja_cases.py - what the reference makes of templates, frozen in ../jinja_cases.json.

    python3 jinja_cases.py          (needs jinja2; 3.1.6 was used)

The environment is the one chat templates are written for: immutable and sandboxed, trim_blocks and
lstrip_blocks on, loop controls, tojson as json.dumps(ensure_ascii=False), raise_exception. A case is
a template and the variables it gets; the result is its text, or "error" when rendering or parsing
fails. Families' templates are composed here after their published structure.
"""
import datetime
import json
import pathlib

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = 1732406400  # 2024-11-24 00:00:00 UTC


class Generation(Extension):
    """The `generation` block, shown and otherwise ignored."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_show"), [], [], body).set_lineno(line)

    def _show(self, caller):
        return caller()


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def raise_exception(message):
    raise TemplateError(message)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime.fromtimestamp(
        NOW, datetime.timezone.utc).strftime(f)
    return env


USER = [{"role": "user", "content": "Hi there"}]
TALK = [{"role": "user", "content": " What's up? "}, {"role": "assistant", "content": "All \"fine\"\n"},
        {"role": "user", "content": "Good\tüben"}]
SYSTEM = [{"role": "system", "content": "Be brief."}] + TALK
ODD = [{"role": "assistant", "content": "first"}, {"role": "user", "content": "second"}]
THINK = [{"role": "user", "content": "2+2?"},
         {"role": "assistant", "content": "<think>\nsum\n</think>\n\n4"},
         {"role": "user", "content": "3+3?"}, {"role": "assistant", "content": "6"}]

CHATML = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
          "{{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}"
          "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")

QWEN2 = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are helpful.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

QWEN3 = """{%- set ns = namespace(searching=true, last_query=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last_query = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if message.role == "assistant" %}
        {%- set thought = '' %}
        {%- if message.reasoning_content is string %}
            {%- set thought = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query %}
            {%- if loop.last or (not loop.last and thought) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

LLAMA3 = """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system message comes out of the list. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("One tool call at a time") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

MISTRAL1 = ("{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != "
            "(loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate!') }}{% endif %}"
            "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
            "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}"
            "{% else %}{{ raise_exception('Only user and assistant roles!') }}{% endif %}{% endfor %}")

MISTRAL3 = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}

{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("Roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- else %}
        {{- raise_exception("Only user and assistant roles") }}
    {%- endif %}
{%- endfor %}
"""

GEMMA3 = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set prefix = messages[0]['content'] + '

' -%}
    {%- else -%}
        {%- set prefix = messages[0]['content'][0]['text'] + '

' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '
' + (prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
"""

TOOLS = [{"type": "function", "function": {"name": "look", "description": "Looks \"up\"",
          "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}}}]
CALLS = [{"role": "user", "content": "Look"},
         {"role": "assistant", "content": "", "tool_calls": [
             {"function": {"name": "look", "arguments": {"q": "é", "n": 3, "x": [True, None]}}}]}]
PARTS = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " see "}]}]


def families():
    table = {"chatml": CHATML, "qwen2": QWEN2, "qwen3": QWEN3, "llama3": LLAMA3,
             "mistral1": MISTRAL1, "mistral3": MISTRAL3, "gemma3": GEMMA3}
    talks = {"user": USER, "talk": TALK, "system": SYSTEM, "odd": ODD, "think": THINK}
    for family, source in table.items():
        for talk, messages in talks.items():
            yield f"{family} {talk}", source, {
                "messages": messages, "add_generation_prompt": talk != "think", "tools": None,
                "bos_token": "<s>", "eos_token": "</s>"}
    base = {"add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"}
    yield "qwen2 tools", QWEN2, {**base, "messages": CALLS, "tools": TOOLS}
    yield "qwen3 no thinking", QWEN3, {**base, "messages": USER, "enable_thinking": False}
    yield "llama3 tools", LLAMA3, {**base, "messages": CALLS, "tools": TOOLS}
    yield "mistral3 tools", MISTRAL3, {**base, "messages": TALK, "tools": TOOLS}
    yield "gemma3 parts", GEMMA3, {**base, "messages": PARTS}


# Small ones: each a template; the variables are the same for all.
VARIABLES = {"n": 5, "s": "Hello, World", "u": "naïve – ✓", "l": [3, 1, 2], "w": "  \t x y\n ",
             "d": {"a": 1, "b": "two", "c": None, "items_": [1]}, "t": True, "f": False, "z": None,
             "e": [], "messages": SYSTEM}
SMALL = r"""
a
 {% if t %}  
  b
 {% endif %}

c

---
x {% if t %} y {% endif %} z
---
x {%- if t -%} y {%- endif -%} z
---
a
   {%+ if t %} b{% endif %}
 c
---
{% if t +%}
 q
{% endif %}
---
   {{ n }}
   {{- n }}
 {{ n -}}
   end
---
{# a comment #}
  {# indented #}
x {# inline #} y
{#- tight -#}
 z
---
{% for i in l %}
  - {{ i }}
{% endfor %}
---
{% for i in l -%}
  - {{ i }}
{%- endfor %}
---
{% set x = 1 %}{% set y = 2 %}
	{% set z = x + y %}
{{ z }}
---
a{{ "\n" }}

  {%- if t %} k {% endif -%}  

b
---
{% if f %}1{% elif z %}2{% elif n == 5 %}3{% else %}4{% endif %}
---
{{ s[0] }}{{ s[-1] }}{{ s[1:4] }}{{ s[:-7] }}{{ s[::-1] }}{{ s[::2] }}{{ s[10:2:-3] }}{{ s[99:] }}|{{ s[99] }}
---
{{ u|length }}{{ u[2] }}{{ u[1:3] }}{{ u[-1] }}{{ u[::-1] }}
---
{{ l[1:] }}{{ l[-1] }}{{ l[::-1] }}{{ l[5:] }}{{ l[-2:] }}{{ l[:99] }}{{ l[-9:2] }}
---
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 3 - -2 }} {{ 2 + 3 * 4 }} {{ (2 + 3) * 4 }}
---
{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 'a' < 'b' }} {{ 1 == true }} {{ 'a' != 1 }} {{ none == none }}
---
{{ 1 in l }} {{ 9 not in l }} {{ 'World' in s }} {{ 'a' in d }} {{ 'x' not in 'abc' }} {{ '' in s }}
---
{{ not t }} {{ t and n }} {{ f or s }} {{ not f and t }} {{ z or 'dflt' }} {{ t and e }}
---
{{ 'a' ~ 1 ~ none ~ true ~ missing ~ l }}
---
{{ 'yes' if t else 'no' }}{{ 'no' if f }}{{ 1 if f else 2 if f else 3 }}
---
{{ [1, 'a', "it's", none, true, {'k': [1, 2]}, (1,), (1, 2), ()] }}
---
{{ {'a': 1, 2: 'b', 'c': {'d': "x\n\t\\"}} }} {{ ["\x07"] }}
---
{{ w | trim }}|{{ w.strip() }}|{{ w.lstrip() }}|{{ w.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcba'.lstrip('ab') }}
---
{{ s | lower }} {{ s | upper }} {{ s.upper() }} {{ s.lower() }} {{ 'hello big-world o\'x' .title() }} {{ 'hELLO wORLD' | capitalize }}
---
{{ l | first }} {{ l | last }} {{ s | first }} {{ e | first }} {{ l | length }} {{ e | length }} {{ d | length }} {{ missing | length }}
---
{{ l | join }} {{ l | join(', ') }} {{ messages | join(';', attribute='role') }} {{ s | join('.') }}
---
{{ missing | default('x') }} {{ z | default('x') }} {{ z | default('x', true) }} {{ '' | d('y', boolean=true) }} {{ missing | default }}
---
{{ s | replace('o', '0') }} {{ s | replace('l', '', 2) }} {{ 'aaa' | replace('', '-') }} {{ s.replace('World', 'You') }} {{ 'abab'.replace('ab', 'x', 1) }}
---
{{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ '  a  b c '.split() }} {{ ' a b  c '.split(none, 1) }} {{ ''.split() }} {{ ''.split(',') }}
---
{{ s.startswith('Hell') }} {{ s.endswith('d') }} {{ s.endswith(('x', 'ld')) }} {{ s.find('o') }} {{ s.find('zz') }} {{ s.count('l') }}
---
{{ '42' | int }} {{ ' -7 ' | int }} {{ 'x' | int }} {{ 'x' | int(3) }} {{ true | int }} {{ 5 | string + '!' }} {{ none | int(default=4) }}
---
{{ 'abc' | list }} {{ l | reverse | list }} {{ 'abc' | reverse }} {{ d | list }} {{ range(3) | list }}
---
{{ d | items | list }} {% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %} {{ d.keys() | list }} {{ d.values() | list }}
---
{{ d.get('a') }} {{ d.get('q') }} {{ d.get('q', 7) }} {{ d.a }} {{ d['b'] }} {{ d.nope }} {{ d['nope'] is defined }}
---
{{ messages | map(attribute='role') | list }} {{ ['a', 'b'] | map('upper') | join }} {{ [' a'] | map('trim') | list }} {{ [{}] | map(attribute='x', default=0) | list }}
---
{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', 'eq', 'user') | map(attribute='role') | join(',') }} {{ [{'a': 0}, {'a': 1}] | selectattr('a') | list }}
---
{{ l | select('odd') | list }} {{ l | reject('gt', 1) | list }} {{ [0, 1, '', 'a'] | select | list }} {{ messages | selectattr('role', 'in', ['user', 'tool']) | list | length }}
---
{{ d | tojson }} {{ l | tojson }} {{ "\"\\\n\u0001é</x>" | tojson }} {{ none | tojson }} {{ true | tojson }} {{ [] | tojson }} {{ {} | tojson }}
---
{{ {'b': [1, {'c': 2}], 'a': [], 'e': {}} | tojson(indent=2) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}
---
{{ s is string }} {{ l is string }} {{ d is mapping }} {{ l is mapping }} {{ l is iterable }} {{ n is iterable }} {{ s is sequence }} {{ d is sequence }}
---
{{ n is number }} {{ t is number }} {{ t is boolean }} {{ n is integer }} {{ t is integer }} {{ t is true }} {{ n is true }} {{ f is false }} {{ z is none }} {{ missing is none }}
---
{{ missing is defined }} {{ missing is not defined }} {{ n is defined and n is number }} {{ missing is undefined }} {{ missing is iterable }} {{ missing is string }} {{ range is callable }}
---
{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 1 is eq 1 }} {{ 1 is in [1] }} {{ 2 is gt(1) }}
---
{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}
---
{% for i in l if i > 1 %}{{ loop.index }}:{{ i }}/{{ loop.length }} {% else %}none{% endfor %}{% for i in l if i > 5 %}x{% else %}none{% endfor %}
---
{% for i in range(3) %}{% for j in range(i) %}{{ i }}{{ j }}{{ loop.depth }} {% endfor %}[{{ loop.index }}]{% endfor %}
---
{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %} {{ range(2, 20, 5) | list }} {{ range(5, 0, -2) | list }}
---
{% set x = 1 %}{% for i in l %}{{ x }}{% set x = i %}{{ x }} {% endfor %}{{ x }}
---
{% set ns = namespace(a=0, b='') %}{% for i in l %}{% set ns.a = ns.a + i %}{% set ns.b = ns.b ~ i %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.c is defined }}
---
{% set x %}  block {{ n }} {% endset %}[{{ x }}]{% set y | upper | trim %} abc {% endset %}[{{ y }}]
---
{% set a, b = 1, 2 if f else 3 %}
---
{% set a, b = (1, 2) %}{{ a }}{{ b }}{% for x, y in [[1, 2], [3, 4]] %}{{ x + y }}{% endfor %}
---
{% macro m(a, b='x', c=none) %}<{{ a }}{{ b }}{{ c }}>{% endmacro %}{{ m(1) }}{{ m(1, 2, 3) }}{{ m(a=5, c=6) }}{{ m() }}{{ m('q')|upper }}
---
{% macro fact(k) %}{{ k if k < 2 else k ~ '*' ~ fact(k - 1) }}{% endmacro %}{{ fact(5) }}
---
{% set g = 1 %}{% macro show() %}{{ g }}{{ hidden }}{% endmacro %}{% set g = 2 %}{% for hidden in [9] %}{{ show() }}{% endfor %}
---
{% generation %}{{ s }}{% set inner = 1 %}{% endgeneration %}{{ inner is defined }}
---
{% if t %}{% set leaked = 'yes' %}{% endif %}{{ leaked }}{% for i in [1] %}{% set kept = 1 %}{% endfor %}{{ kept is defined }}
---
{{ '\x41\u00e9\101\q\'' "joined" 'too' }}{{ "tab\there" }}{{ '{{ not }}' }}{{ "{% raw %}" }}
---
{{ {'a': {'b': {}}} }}{{ {'a': 1}.a }}{{ [[1, 2], [3]][0][1] }}{{ (1, 2)[1] }}{{ messages.0.role }}{{ messages[1:][0].content | trim }}
---
{{ -1 | string }}{{ -n }}{{ +n }}{{ 2 - 1 }}{{ 1 -1 }}{{ not 1 == 2 }}{{ 'ab' * 3 }}{{ 2 * 'x' }}{{ [1] + [2] }}{{ (1,) + (2,) }}
---
{{ 'a' if missing else 'b' }}{{ missing == missing }}{{ missing == none }}{{ missing ~ 'x' }}{{ 'x' in missing }}{% for q in missing %}x{% endfor %}
---
{{ strftime_now('%d %b %Y %H:%M %% %A') }}
---
{{ messages == messages[:] }}{{ messages[0] == {'role': 'system', 'content': 'Be brief.'} }}{{ [1, 2] == [1, 2] }}{{ [1] == (1,) }}{{ {'a': 1} == {'a': 1} }}
---
{{ 'abc' is not string or 'x' is string and not f }}{{ n is none or n is not none }}
---
{% for c in 'añb' %}{{ c }}.{% endfor %}{% for k in d %}{{ k }}{% endfor %}
---
{{ messages[5] is defined }}{{ messages[5] }}{{ messages[-1].content }}{{ messages['x'] }}
---
{{ dict(a=1, b='x') }}{{ namespace({'q': 1}).q }}
---
{% if not(t) %}a{% elif not (f) %}b{% endif %}{{ l|length-1 }}{{ (l|length)-1 }}{{ l|length == 3 }}
---
{{ missing.attr }}
---
{{ messages[9].role }}
---
{{ 'a' + 1 }}
---
{{ missing + 'a' }}
---
{{ 1 // 0 }}
---
{% for i in 5 %}{% endfor %}
---
{{ raise_exception('no ' ~ n) }}
---
{% if t %}unfinished
---
{{ 1 + }}
---
{% endif %}
---
{{ (1, 2 }}
---
{# never ends
---
{{ 'abc }}
---
{{ range(100001) | length }}
---
{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}
---
{{ {'a': 1} < {'b': 2} }}
---
{% set d.a = 3 %}
---
{{ 1 in 'abc' }}
---
{{ l | map(attribute='x') | length }}
---
{% set a, b = [1, 2, 3] %}
---
{{ missing | tojson }}
---
{% for i in l %}{% else %}
"""


def cases():
    yield from families()
    for i, source in enumerate(SMALL.strip("\n").split("\n---\n")):
        yield f"small {i + 1}", source, VARIABLES
    yield "trailing newlines", "a\n\n", {}
    yield "carriage returns", "a\r\n{% if true %}\r\n b\r{% endif %}\r\nc\r\n", {}
    yield "only a newline", "\n", {}
    yield "lone brace", "{ {a} }} %} #} {", {}


def main():
    env = environment()
    out = []
    for name, source, variables in cases():
        case = {"name": name, "template": source, "variables": variables}
        try:
            case["text"] = env.from_string(source).render(**variables)
        except Exception as e:  # whatever Python raises: this template does not work
            case["error"] = type(e).__name__
        out.append(case)
    path = pathlib.Path(__file__).parent.parent / "jinja_cases.json"
    head = {"source": "jinja2 3.1.6 through tests/kat/gen/jinja_cases.py", "now": NOW, "cases": out}
    path.write_text(json.dumps(head, ensure_ascii=True, indent=0) + "\n")
    print(len(out), "cases,", sum("error" in c for c in out), "errors")


main()

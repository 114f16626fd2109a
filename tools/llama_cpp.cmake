# Included by the build of llama-cpp-python (make llm). llama.cpp's "common" library is for its
# command-line programs, takes half of the time, and no part of the Python package uses it.
set(LLAMA_BUILD_COMMON OFF)
